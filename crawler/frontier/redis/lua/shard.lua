-- What every script starts with: one shard's state, its hosts, and the moves of a request. See crawler.frontier for the
-- rules (their numbers stand in the comments) and crawler/frontier/redis/__init__.py for the keys.
--
-- KEYS[1]  the shard: a hash with schema, generation, paused, skew, monitor and totals. Every other key is derived from
--          it, so that all of them share its hash slot.
-- ARGV[1]  the time in ms, or 0 for the server's own clock
-- ARGV[2]  the rules of the crawl, as a MessagePack array in the order of the constants below

local call, unpack, floor, max, min = redis.call, unpack, math.floor, math.max, math.min
local encode, decode = cmsgpack.pack, cmsgpack.unpack

local SCHEMA = '2'
local REAP_MAX, LEASE_MAX = 200, 200
local RANK = 281474976710656 -- 2^48: a place is the rank (0 for the highest priority) times this, plus the number
local PRIORITY_MAX = 9

-- Rules.
local LEASE_MS, SUSPECT_WAIT_MS, CRASHES_MAX, PENDING_MAX, DELAY_MS, PER_HOST, ROBOTS, FAILURES_MAX, BACKOFF_S,
    BACKOFF_MAX_S, PAGES_MAX, BYTES_MAX, LIFO = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
local R = decode(ARGV[2])

-- A host. PLACED: its score among the ready hosts, 0 when it is not among them. MASK: the priorities whose queues may
-- hold something, as bits. STAMPS: for each origin two fields, until when its robots record is valid and the record's
-- stamp. BACK: how many wait in `back`. OWN_DELAY: one more than its ms; 0: it has none. A record is kept without the
-- zeros at its end, so what is rarely set stands there.
local ID, DUE_MS, PLACED, READY, MASK, DONE, IN_FLIGHT, NEXT_MS, STAMPS, BACK, PAUSED_MS, FAILURES, STEPS, DOWN, ASKING,
    OWN_DELAY, SUSPECTS, DELAYED, DEAD, DOOMED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27
local HOST_FIELDS = 27

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
local P = KEYS[1] .. ':' .. head[2] .. ':'
local paused = head[3] == '1'
local skew = tonumber(head[4])

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
    'asked_ms', 'grace_ms', 'forgetting', 'drain_request', 'drain_ms', 'drain_worker', 'drain_host'}
local T = {}
do
    local values = head[6] and decode(head[6]) or {}
    for i, field in ipairs(FIELDS) do T[field] = values[i] or 0 end
    if T.drain_worker == 0 then T.drain_worker, T.drain_host = '', '' end
end

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
local watched = head[5] and tonumber(head[5]) > wall
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

local function new_host()
    T.hosts = T.hosts + 1
    return {T.hosts, now, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
end

local function pack_host(host)
    local last = HOST_FIELDS
    while host[last] == 0 do last = last - 1 end
    return array(last) .. encode(unpack(host, 1, last))
end

local function unpack_host(raw)
    -- nil for a damaged one.
    local whole, host = pcall(decode, raw)
    if not whole or type(host) ~= 'table' or #host < DUE_MS or #host > HOST_FIELDS then return nil end
    for i = #host + 1, HOST_FIELDS do host[i] = 0 end
    return host
end

local function rescued(name)
    -- A damaged record: start it anew from what its queues hold; politeness begins afresh.
    local host = new_host()
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

local function load_hosts(names)
    local missing, asked = {}, {}
    for _, name in ipairs(names) do
        if hosts[name] == nil and not asked[name] then
            asked[name] = true
            missing[#missing + 1] = name
        end
    end
    if #missing == 0 then return end
    local raws = call('HMGET', P .. 'hosts', unpack(missing))
    for i, name in ipairs(missing) do
        hosts[name] = raws[i] and (unpack_host(raws[i]) or rescued(name))
    end
end

local function host_of(name)
    -- To be read only; false when there is none.
    if hosts[name] == nil then load_hosts({name}) end
    return hosts[name]
end

local function host_made(name)
    -- To be changed; made if need be.
    local host = host_of(name)
    touched[name] = true
    if not host then
        host = new_host()
        hosts[name] = host
    end
    return host
end

local function delay_of(host)
    return host[OWN_DELAY] > 0 and host[OWN_DELAY] - 1 or R[DELAY_MS]
end

local function room(host)
    -- How many more may be in flight, time aside (rules 7 to 9).
    if host[DOWN] == 1 or host[ASKING] == 1 then return 0 end
    if delay_of(host) > 0 then return max(0, 1 - host[IN_FLIGHT]) end
    return R[PER_HOST] > 0 and max(0, R[PER_HOST] - host[IN_FLIGHT]) or LEASE_MAX
end

local function open_ms(host)
    return max(host[NEXT_MS], host[PAUSED_MS])
end

local function may_give(host)
    return open_ms(host) <= now and room(host) > 0
end

local function member_of(name, host)
    -- Among hosts that are due since the same time the number decides (rule 10).
    local member = members[name]
    if not member then
        member = struct.pack('>I4', host[ID]) .. name
        members[name] = member
    end
    return member
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

local function save_hosts()
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
    touched = {}
    if woken then
        local _, score = first_ready()
        woken = not score or score > now
    end
    if #gone > 0 then call('ZREM', P .. 'ready', unpack(gone)) end
    if #placed > 0 then call('ZADD', P .. 'ready', unpack(placed)) end
    if #rows > 0 then call('HSET', P .. 'hosts', unpack(rows)) end
    if woken then call('PUBLISH', KEYS[1], '') end
end

local function save()
    save_hosts()
    for name, times in pairs(reasons) do call('HINCRBY', P .. 'reasons', name, times) end
    if #events > 0 then call('PUBLISH', KEYS[1] .. ':events', encode({wall, events})) end
    save_totals()
end
