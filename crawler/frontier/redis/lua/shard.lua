-- What every script starts with: one shard's state, its hosts, and the moves of a request. See crawler.frontier for the
-- rules (their numbers stand in the comments) and crawler/frontier/redis/__init__.py for the keys.
--
-- KEYS[1]  the shard: a hash with schema, generation, paused, skew, monitor and totals. Every other key is derived from
--          it, so that all of them share its hash slot.
-- ARGV[1]  the time in ms, or 0 for the server's own clock
-- ARGV[2]  the rules of the crawl, as a MessagePack array in the order of the constants below

local call, unpack, floor, max, min = redis.call, unpack, math.floor, math.max, math.min
local encode, decode = cmsgpack.pack, cmsgpack.unpack

local SCHEMA = '3'
local REAP_MAX, LEASE_MAX, CALL_BYTES_MAX = 200, 200, 262144 -- the last: bytes of requests that one call may move
local RANK = 281474976710656 -- 2^48: a place is the rank (0 for the highest priority) times this, plus the number
local PRIORITY_MAX = 9

-- Rules.
local LEASE_MS, CRASHES_MAX, ROBOTS, LIFO, PER_DOMAIN = 1, 3, 7, 13, 14 -- the others where they are used
local R = decode(ARGV[2])

-- A host. PLACED: its score among the ready hosts, 0 when it is not among them. READY: 0 only when nothing is; those that
-- were queued behind others are not counted before these were taken (`count_ready`). MASK: the priorities whose queues may
-- hold something, as bits. STAMPS: for each origin two fields, until when its robots record is valid and the record's
-- stamp. BACK: how many wait in `back`. OWN_DELAY: one more than its ms; 0: it has none. A record is kept without the
-- zeros at its end, so what is rarely set stands there.
local ID, DUE_MS, PLACED, READY, MASK, DONE, IN_FLIGHT, NEXT_MS, LATENCY, STAMPS, BACK, PAUSED_MS, FAILURES, STEPS, DOWN,
    ASKING, OWN_DELAY, SUSPECTS, DELAYED, DEAD, DOOMED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 18, 19, 20, 21, 22, 23, 24, 25,
    26, 27, 28
local HOST_FIELDS = 28
-- Fields that few hosts have: not even in the table unless one of them was set (`extended`). OWN_WIDTH: one more than its
-- own cap of requests in flight; 0: it has none. DOMAIN: the registrable one, known only with a cap (rule 16).
local X = {CRAWL_DELAY = 29, OWN_WIDTH = 30, SLOW = 31, WELL = 32, DOMAIN = 33}
local HOST_ALL = 33

-- Every text that a script gets or makes costs it a look at each of its bytes (Redis's Lua hashes them all), so a page's
-- payload should be one text, once.

-- An entry: a request that is not finished. ORIGIN: 0 http, 1 https, 2 http on port 443, 3 https on port 80. RAW: origin
-- and number (6 bytes), then the payload, as in a queue; PAYLOAD is then made of it when it is needed (`complete`).
local NUMBER, ORIGIN, PRIORITY, ATTEMPTS, CRASHES, HOST, PAYLOAD, RAW = 1, 2, 3, 4, 5, 6, 7, 8

-- A lease; its fields are packed one by one, the first is whether they could be read. RAW of its entry is in `taken`.
-- PAGE: 0 for a robots.txt. SINCE_MS: when its entry became a suspect.
local WORKER, L_HOST, STEP, FETCHED, ALONE, SINCE_MS, L_ORIGIN, PAGE, L_PRIORITY, L_ATTEMPTS, L_CRASHES = 2, 3, 4, 5, 6,
    7, 8, 9, 10, 11, 12

-- A worker.
local W_PAGES, W_SEEN_MS, W_HELD, W_ALONE, W_LEASED = 1, 2, 3, 4, 5

local function array(length)
    -- How MessagePack begins one.
    return length < 16 and string.char(0x90 + length) or struct.pack('>BI2', 0xdc, length)
end

local head = call('HMGET', KEYS[1], 'schema', 'generation', 'paused', 'skew', 'monitor', 'totals')
if not head[1] then
    return redis.error_reply('GONE no crawl at ' .. KEYS[1])
elseif head[1] ~= SCHEMA then
    return redis.error_reply('SCHEMA ' .. KEYS[1] .. ' has schema ' .. head[1] .. ', this program ' .. SCHEMA)
end
local function damaged(what)
    return redis.error_reply('DAMAGED ' .. KEYS[1] .. ': ' .. what)
end
local skew = tonumber(head[4] or '')
if not tonumber(head[2] or '') or not skew then return damaged('generation and skew are not both numbers') end
local P = KEYS[1] .. ':' .. head[2] .. ':'
local paused = head[3] == '1'

-- Stamps are the clock as it is (`wall`); waits run by `now`, which never goes back: what the clock was set back is in
-- `skew`.
local wall = tonumber(ARGV[1])
if wall == 0 then
    local time = call('TIME')
    wall = time[1] * 1000 + floor(time[2] / 1000)
end
local now = wall + skew

-- Counters and the few facts about the whole shard.
local FIELDS = {'ready', 'delayed', 'leased', 'suspects', 'dead', 'done', 'pages', 'items', 'bytes', 'added', 'dropped',
    'retries', 'crashes', 'hosts', 'open', 'closed', 'lost', 'serial', 'number', 'opened', 'died', 'seen', 'buckets',
    'asked_ms', 'grace_ms', 'forgetting', 'drain_request', 'drain_ms', 'drain_worker', 'drain_host',
    'revisits', 'scan', 'counted'}
local T = {}
do
local function read_totals()
    -- Raises an error for what is not an array of numbers and names.
    local values, sum = head[6] and decode(head[6]) or {}, 0
    for i, field in ipairs(FIELDS) do
        local value = values[i] or 0
        T[field] = value
        if field ~= 'drain_worker' and field ~= 'drain_host' then sum = sum + value end
    end
    if T.drain_worker == 0 then T.drain_worker, T.drain_host = '', '' end
    return sum + #T.drain_worker + #T.drain_host
end
if not pcall(read_totals) or (not head[6] and call('EXISTS', P .. 'hosts', P .. 'producers') > 0) then
    return damaged('its totals are gone or cannot be read')
end
end

if R[PER_DOMAIN] == 0 then T.counted = 0 end -- from now on nobody counts what is in flight by domain

local function save_totals()
    local values = {}
    for i, field in ipairs(FIELDS) do values[i] = T[field] end
    local text = encode(values)
    if text ~= head[6] then call('HSET', KEYS[1], 'totals', text) end
end

local reasons = {}
local function count_reason(name)
    reasons[name] = (reasons[name] or 0) + 1
end

-- What `crawler monitor` shows; collected only while somebody looks.
local watched = (tonumber(head[5] or '') or 0) > wall
local events = {}
local function complete(entry)
    if entry[RAW] then entry[PAYLOAD], entry[RAW] = entry[RAW]:sub(7), nil end
    return entry
end

local function tell(what, entry, worker, reason)
    if watched and entry then
        complete(entry)
        events[#events + 1] = {what, entry[HOST], worker or '', reason or '', entry[PAYLOAD]}
    end
end

-- Hosts: read when first needed, written back by `save_hosts`.

local hosts, touched, members = {}, {}, {}
local flew = {} -- with a cap by domain: what was in flight when the host was read
local pack_host, rescued, load_hosts, host_of, host_made
do -- a script may have 200 locals at a time
local new_hosts, records = 0, nil -- made by this script; how many had a record before it

local function new_host()
    new_hosts = new_hosts + 1
    T.hosts = T.hosts + 1
    return {T.hosts, now, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
end

function pack_host(host)
    local last = host[HOST_ALL] and HOST_ALL or HOST_FIELDS
    while host[last] == 0 do last = last - 1 end
    return array(last) .. encode(unpack(host, 1, last))
end

local function fields_of(raw)
    -- Raises an error unless they are numbers, but for the last.
    local host, sum = decode(raw), 0
    for i = 1, min(#host, X.DOMAIN - 1) do sum = sum + host[i] end
    return host
end

local function unpack_host(raw)
    -- nil for a damaged one.
    local whole, host = pcall(fields_of, raw)
    if not whole or #host < DUE_MS or #host > HOST_ALL then return nil end
    for i = #host + 1, #host > HOST_FIELDS and HOST_ALL or HOST_FIELDS do host[i] = 0 end
    return host
end

function rescued(name)
    -- A damaged record: start it anew from what its queues hold; politeness begins afresh.
    local host = new_host()
    T.counted = 0
    for priority = 0, PRIORITY_MAX do
        local length = call('LLEN', P .. 'q:' .. priority .. ':' .. name)
        if length > 0 then host[READY], host[MASK] = host[READY] + length, host[MASK] + 2 ^ priority end
    end
    host[BACK] = call('ZCARD', P .. 'back:' .. name)
    host[READY] = host[READY] + host[BACK]
    for _, member in ipairs(call('ZRANGE', P .. 'ready', 0, -1)) do
        if member:sub(5) == name then call('ZREM', P .. 'ready', member) end
    end
    return host
end

local function lost(name)
    -- Whether somebody took a host's record away and left its requests. Only looked for when records are fewer or more
    -- than were made.
    records = records or call('HLEN', P .. 'hosts')
    if records == T.hosts - new_hosts then return false end
    local keys = {P .. 'back:' .. name}
    for priority = 0, PRIORITY_MAX do keys[priority + 2] = P .. 'q:' .. priority .. ':' .. name end
    return call('EXISTS', unpack(keys)) > 0
end

function load_hosts(names)
    local missing = {}
    for _, name in ipairs(names) do
        if hosts[name] == nil then
            hosts[name] = false
            missing[#missing + 1] = name
        end
    end
    if #missing == 0 then return end
    local raws = call('HMGET', P .. 'hosts', unpack(missing))
    for i, name in ipairs(missing) do
        local host = raws[i] and (unpack_host(raws[i]) or rescued(name))
        hosts[name] = host
        if R[PER_DOMAIN] > 0 then flew[name] = host and host[IN_FLIGHT] or 0 end
    end
end

function host_of(name)
    -- To be read only; false when there is none.
    if hosts[name] == nil then load_hosts({name}) end
    return hosts[name]
end

function host_made(name)
    -- To be changed; made if need be.
    local host = host_of(name)
    touched[name] = true
    if not host then
        host = lost(name) and rescued(name) or new_host()
        hosts[name] = host
    end
    return host
end

end

local function extended(host)
    -- With the fields that few hosts have.
    for i = #host + 1, HOST_ALL do host[i] = 0 end
    return host
end

-- How fast a host may be asked, as in crawler/frontier/host.py.

local room, leave_alone, note_latency, is_limited
do
local DELAY_MS, PER_HOST, LATENCY_FACTOR, DELAY_MAX_MS = 5, 6, 15, 16
local SLOW_BASE_MS = 250

local function base_of(host)
    -- Its delay, without what rules 14 and 15 make of it.
    if host[OWN_DELAY] > 0 then return host[OWN_DELAY] - 1 end
    return max(R[DELAY_MS], host[X.CRAWL_DELAY] or 0)
end

local function is_single(host)
    return base_of(host) > 0 or (host[X.SLOW] or 0) > 0
end

local function width_of(host)
    local own = host[X.OWN_WIDTH] or 0
    return own > 0 and own - 1 or R[PER_HOST]
end

function leave_alone(host, times)
    -- From now on for its delay; one ms more, because clocks cut off (rule 7).
    local base, slow = base_of(host), host[X.SLOW] or 0
    local delay = base
    if base > 0 and host[LATENCY] > 0 then
        delay = max(delay, min(math.ceil(R[LATENCY_FACTOR] * host[LATENCY]), R[DELAY_MAX_MS]))
    end
    if slow > 0 then delay = max(delay, min(max(base, SLOW_BASE_MS) * 2 ^ slow, R[DELAY_MAX_MS])) end
    if delay > 0 then host[NEXT_MS] = max(host[NEXT_MS], now + times * delay + 1) end
end

function note_latency(host, took_ms)
    -- Rule 14.
    if R[LATENCY_FACTOR] <= 0 or base_of(host) == 0 then return end
    host[LATENCY] = host[LATENCY] > 0 and floor((3 * host[LATENCY] + took_ms + 2) / 4) or took_ms
end

function is_limited(host)
    return width_of(host) > 0 or is_single(host)
end

function room(host)
    -- How many more may be in flight, time aside (rules 7 to 9).
    if host[DOWN] == 1 or host[ASKING] == 1 then return 0 end
    if is_single(host) then return max(0, 1 - host[IN_FLIGHT]) end
    local width = width_of(host)
    return width > 0 and max(0, width - host[IN_FLIGHT]) or LEASE_MAX
end
end

local function open_ms(host)
    return max(host[NEXT_MS], host[PAUSED_MS])
end

local function may_give(host)
    return open_ms(host) <= now and room(host) > 0
end

local texts = {}
local function text_of(number)
    -- Whole, below 10^14. Redis writes a number out with 17 digits each time it is given one; many have the same.
    local text = texts[number]
    if not text then
        text = tostring(number)
        texts[number] = text
    end
    return text
end

local function first_ready()
    local first = call('ZRANGE', P .. 'ready', 0, 0, 'WITHSCORES')
    return first[1], tonumber(first[2])
end

local save_hosts
do
local function member_of(name, host)
    -- Among hosts that are due since the same time the number decides (rule 10).
    local member = members[name]
    if not member then
        member = struct.pack('>I4', host[ID]) .. name
        members[name] = member
    end
    return member
end

local function count_flying(names)
    -- What is in flight by domain (rule 16). True when it became less for one.
    local changes, freed = {}, false
    for name in pairs(names) do
        local host = hosts[name]
        local change = host and host[IN_FLIGHT] - (flew[name] or 0) or 0
        if change ~= 0 then
            freed, flew[name] = freed or change < 0, host[IN_FLIGHT]
            local domain = host[X.DOMAIN] or 0
            if domain ~= 0 then
                changes[domain] = (changes[domain] or 0) + change
            else
                T.counted = 0
            end
        end
    end
    for domain, change in pairs(changes) do
        if change ~= 0 and call('HINCRBY', P .. 'flying', domain, change) <= 0 then call('HDEL', P .. 'flying', domain) end
    end
    return freed
end

function save_hosts()
    -- Write the touched ones back, with their places among the ready and the doomed; wake idle workers when something
    -- is due where nothing was.
    local rows, placed, gone, woken = {}, {}, {}, false
    for name in pairs(touched) do
        local host = hosts[name]
        if host then
            local score = 0
            if host[READY] > 0 and room(host) > 0 then
                score = max(host[DUE_MS], host[NEXT_MS], host[PAUSED_MS], 1)
            end
            if score ~= host[PLACED] then
                if score > 0 then
                    placed[#placed + 1] = text_of(score)
                    placed[#placed + 1] = member_of(name, host)
                    woken = woken or score <= now
                else
                    gone[#gone + 1] = member_of(name, host)
                end
                host[PLACED] = score
            end
            local doomed = (host[DOWN] == 1 and host[READY] + host[SUSPECTS] > 0) and 1 or 0
            if doomed ~= host[DOOMED] then
                host[DOOMED] = doomed
                if doomed == 1 then
                    call('ZADD', P .. 'down', host[ID], name)
                else
                    call('ZREM', P .. 'down', name)
                end
            end
            rows[#rows + 1] = name
            rows[#rows + 1] = pack_host(host)
        end
    end
    local freed = R[PER_DOMAIN] > 0 and count_flying(touched)
    touched = {}
    if R[PER_DOMAIN] > 0 then
        woken = woken or freed -- those that are due may have waited for their domain
    elseif woken then
        local _, score = first_ready()
        woken = not score or score > now
    end
    if #gone > 0 then call('ZREM', P .. 'ready', unpack(gone)) end
    if #placed > 0 then call('ZADD', P .. 'ready', unpack(placed)) end
    if #rows > 0 then call('HSET', P .. 'hosts', unpack(rows)) end
    if woken then call('PUBLISH', KEYS[1], '') end
end
end

local function producer_of(number)
    -- {name, state}. One whose record is gone or damaged is lost.
    local whole, producer = pcall(decode, call('HGET', P .. 'producers', number) or '')
    if whole and type(producer) == 'table' and type(producer[1]) == 'string' then
        local state = producer[2]
        if state == 'open' or state == 'closed' or state == 'lost' then return producer end
    end
    return {'', 'lost'}
end

local function lose_producer(number, name)
    if call('ZREM', P .. 'producer_expiry', number) == 0 or not tonumber(number) then return end
    call('HSET', P .. 'producers', number, encode({name, 'lost'}))
    T.open, T.lost = max(0, T.open - 1), T.lost + 1
end

local function save()
    save_hosts()
    for name, times in pairs(reasons) do
        if type(redis.pcall('HINCRBY', P .. 'reasons', name, times)) == 'table' then -- what was there was no number
            call('HSET', P .. 'reasons', name, times)
        end
    end
    if #events > 0 then call('PUBLISH', KEYS[1] .. ':events', encode({wall, events})) end
    save_totals()
end
