-- include shard moves clock tidy
-- Promise requests to a worker: reap, promote and bury on the side, then choose (rules 3 to 12). One step.
--
-- ARGV[3]  how many at most; -1: nothing new, only when something is due      ARGV[4]  the worker
-- ARGV[5]  the request_id
-- ARGV[6]  how many leases the worker holds in other shards      ARGV[7]  0: no suspect may be given
-- ARGV[8]  how many the limits of the crawl leave, over all shards; -1: this shard knows
-- Returns {due, facts, raw, …}: due: ms from now as text, '' for none. facts: MessagePack {draining, suspects, held,
-- alone, strangers, leases}; held, alone: how many the worker has in this shard now; strangers: hosts whose domains
-- must be told (`domains`); leases: for each raw these eight: serial as text, host, origin, attempts, crashes, alone,
-- robots, stamp.

local count, worker_name, request_id = tonumber(ARGV[3]), ARGV[4], ARGV[5]
local elsewhere, suspects_wanted, allowed = tonumber(ARGV[6]), ARGV[7] == '1', tonumber(ARGV[8])

local SUSPECT_WAIT_MS = 2
local me = worker_of(worker_name)
local waiting = nil -- suspects, once asked for
local function waiting_suspects()
    if waiting then return waiting end
    waiting = {}
    for _, one in ipairs(suspects()) do
        if one[1][HOST] ~= '' then
            waiting[#waiting + 1] = one
        else -- damaged, so nobody can try it
            call('ZREM', P .. 'suspects', one[3])
            T.suspects = max(0, T.suspects - 1)
            bury(one[1], 'damaged_record', 'suspect')
        end
    end
    return waiting
end

-- Choosing.

local new = {leases = {}, taken = {}, expiry = {}, serials = {}, facts = {}, raws = {}, bytes = 0}

local function robots_known(host, entry)
    return R[ROBOTS] == 0 or host[STAMPS + 2 * entry[ORIGIN]] > wall
end

local function tell_lease(serial, name, origin, attempts, crashes, alone, page, raw)
    local facts, n = new.facts, #new.facts
    facts[n + 1], facts[n + 2], facts[n + 3], facts[n + 4] = serial, name, origin, attempts
    facts[n + 5], facts[n + 6], facts[n + 7] = crashes, alone, 1 - page
    facts[n + 8] = R[ROBOTS] == 1 and hosts[name][STAMPS + 2 * origin + 1] or 0
    new.raws[#new.raws + 1] = raw
end

local function give(name, host, entry, known, since_ms)
    -- Lease it, or its origin's robots.txt in its place (rule 8).
    T.serial = T.serial + 1
    local serial = tostring(T.serial)
    local alone = (known and since_ms) and 1 or 0
    local page, raw = known and 1 or 0, known and raw_of(entry) or ''
    local attempts, crashes, origin = entry[ATTEMPTS], entry[CRASHES], entry[ORIGIN]
    local n = #new.leases
    new.leases[n + 1], new.leases[n + 2] = serial, encode(worker_name, name, host[STEPS], 0, alone, since_ms or 0, origin,
        page, entry[PRIORITY], attempts, crashes)
    new.expiry[n + 1], new.expiry[n + 2] = text_of(now + R[LEASE_MS]), expiry_member(serial, name)
    new.serials[#new.serials + 1] = serial
    new.bytes = new.bytes + #raw
    if known then
        local m = #new.taken
        new.taken[m + 1], new.taken[m + 2] = serial, raw
    end
    tell_lease(serial, name, origin, attempts, crashes, alone, page, raw)
    host[IN_FLIGHT], host[DUE_MS] = host[IN_FLIGHT] + 1, now
    me[W_HELD] = me[W_HELD] + 1
    if known then
        me[W_LEASED], me[W_ALONE], T.leased = me[W_LEASED] + 1, me[W_ALONE] + alone, T.leased + 1
        tell('leased', entry, worker_name)
    else
        host[ASKING] = 1
    end
end

local function save_new()
    if #new.serials == 0 then return end
    me[W_SEEN_MS] = wall
    call('HSET', P .. 'leases', unpack(new.leases))
    if #new.taken > 0 then call('HSET', P .. 'taken', unpack(new.taken)) end
    call('ZADD', P .. 'expiry', unpack(new.expiry))
    call('SADD', P .. 'held:' .. worker_name, unpack(new.serials))
    call('HSET', P .. 'batches', request_id, new.serials[1] .. ',' .. new.serials[#new.serials])
    call('ZADD', P .. 'given', wall, request_id)
end

-- Domains (rule 16). `flying` counts what is in flight by domain; strangers are hosts whose domain was not told yet.
local SCAN_MAX = 1000
local domains = {strangers = {}, strange = {}, flying = {}, again = nil}

local function domain_room(host)
    if R[PER_DOMAIN] == 0 then return true end
    local domain = host[X.DOMAIN]
    domains.flying[domain] = domains.flying[domain] or tonumber(call('HGET', P .. 'flying', domain) or 0)
    return domains.flying[domain] < R[PER_DOMAIN]
end

local function due_members(first, limit)
    -- Of hosts that are due; what is no host's goes.
    local due = {}
    for _, member in ipairs(call('ZRANGEBYSCORE', P .. 'ready', '-inf', now, 'LIMIT', first, limit)) do
        if plain(member:sub(5)) then due[#due + 1] = member else call('ZREM', P .. 'ready', member) end
    end
    return due
end

local function misplaced(name, host)
    -- Whether the place where the host was found is not its own; then it goes.
    if host[READY] > 0 or host[PLACED] > 0 then return false end
    call('ZREM', P .. 'ready', members[name])
    return true
end

local prepare_domains
do
local function note(name)
    -- Its domain, or nil for a stranger.
    local host = host_of(name) or host_made(name)
    if (host[X.DOMAIN] or 0) ~= 0 then return host[X.DOMAIN] end
    if not domains.strange[name] then
        domains.strange[name] = true
        domains.strangers[#domains.strangers + 1] = name
    end
end

local function count_anew()
    -- When it was not counted for a while. Cost: in proportion to all leases.
    local counts, rows = {}, call('HGETALL', P .. 'leases')
    for i = 2, #rows, 2 do
        local lease = {pcall(decode, rows[i])}
        if lease[1] and #lease == L_CRASHES and lease[FETCHED] == 0 then
            local domain = note(lease[L_HOST])
            if domain then counts[domain] = (counts[domain] or 0) + 1 end
        end
    end
    if #domains.strangers > 0 then return end
    call('DEL', P .. 'flying')
    for domain, times in pairs(counts) do call('HSET', P .. 'flying', domain, times) end
    T.counted = 1
end

function prepare_domains()
    -- False: some must be told first.
    domains.due = due_members(T.scan, SCAN_MAX + 1)
    local names = {}
    for i = 1, min(#domains.due, SCAN_MAX) do
        names[i] = domains.due[i]:sub(5)
        members[names[i]] = domains.due[i]
    end
    load_hosts(names)
    for _, name in ipairs(names) do
        if not hosts[name] or (hosts[name][X.DOMAIN] or 0) == 0 then note(name) end
    end
    for _, one in ipairs(waiting_suspects()) do note(one[1][HOST]) end
    if T.counted == 0 then count_anew() end
    domains.names = names
    return #domains.strangers == 0
end
end

local give_ready, spoiled -- the error of a queue that is not ours
do
local function take_first(name, host)
    -- What it would end the script with, others would have been taken already that nobody leased.
    local fine, entry, known = pcall(take_ready, name, host, robots_known)
    if fine then return entry, known end
    spoiled = spoiled or type(entry) == 'table' and entry or redis.error_reply(tostring(entry))
end

local function give_by_domain()
    -- One of each due host whose domain has room.
    local more, left = #domains.due > SCAN_MAX, count
    for _, name in ipairs(domains.names) do
        if left == 0 then break end
        local host = hosts[name]
        if not misplaced(name, host) and name ~= T.drain_host and host[READY] > 0 and room(host) > 0 and domain_room(host) then
            host_made(name)
            local entry, known = take_first(name, host)
            if entry then
                give(name, host, entry, known)
                domains.flying[host[X.DOMAIN]] = domains.flying[host[X.DOMAIN]] + 1
                left = new.bytes < CALL_BYTES_MAX and left - 1 or 0
            end
        end
    end
    T.scan = (more and left == count) and T.scan + SCAN_MAX or 0
    domains.again = more or left < count
end

local function due_names(limit)
    local names = {}
    local reserved = T.drain_host
    for _, member in ipairs(due_members(0, limit + 1)) do
        local name = member:sub(5)
        members[name] = member
        if name ~= reserved and #names < limit then names[#names + 1] = name end
    end
    return names
end

function give_ready()
    -- Round by round one of each due host.
    if R[PER_DOMAIN] > 0 then return give_by_domain() end
    local turn, left = due_names(count), count
    load_hosts(turn)
    while #turn > 0 and left > 0 do
        local again = {}
        for _, name in ipairs(turn) do
            if left == 0 then break end
            if not hosts[name] then hosts[name] = rescued(name) end
            local host = host_made(name)
            if not misplaced(name, host) and host[READY] > 0 and room(host) > 0 then
                local entry, known = take_first(name, host)
                if entry then
                    give(name, host, entry, known)
                    left = new.bytes < CALL_BYTES_MAX and left - 1 or 0
                    if known then again[#again + 1] = name end
                end
            end
        end
        turn = again
    end
end

end

local drain, give_suspect, give_alone, by_number
do
local function stop_drain()
    T.drain_worker, T.drain_request, T.drain_host = '', 0, ''
end

function by_number(number)
    for _, one in ipairs(waiting_suspects()) do
        if one[1][NUMBER] == number then return one end
    end
end

function drain()
    -- The overdue suspect that this worker must wait for with empty hands, if it is the one (rule 5).
    if T.drain_worker ~= '' then
        local one = by_number(T.drain_request)
        local host = one and host_of(one[1][HOST])
        local age = wall - T.drain_ms
        if not one or host[DOWN] == 1 or host[PAUSED_MS] > now or age < 0 or age > R[LEASE_MS] then stop_drain() end
    end
    if T.drain_worker == '' then
        for _, one in ipairs(waiting_suspects()) do
            local host = host_of(one[1][HOST])
            if one[2] + R[SUSPECT_WAIT_MS] <= now and may_give(host) and domain_room(host) then
                T.drain_worker, T.drain_request = worker_name, one[1][NUMBER]
                T.drain_host = is_limited(host) and one[1][HOST] or ''
                break
            end
        end
    end
    if T.drain_worker ~= worker_name then return nil end
    T.drain_ms = wall
    return by_number(T.drain_request)
end

function give_alone(one)
    local entry, name = one[1], one[1][HOST]
    local host = host_made(name)
    local known = robots_known(host, entry)
    give(name, host, entry, known, one[2])
    if known then
        take_suspect(one)
        waiting = nil
        if T.drain_request == entry[NUMBER] then stop_drain() end
    end
end

function give_suspect()
    -- The one waiting for longest, unless another worker empties its hands for it.
    for _, one in ipairs(waiting_suspects()) do
        local free = one[1][NUMBER] ~= T.drain_request and (T.drain_host == '' or one[1][HOST] ~= T.drain_host)
        local host = host_of(one[1][HOST])
        if free and may_give(host) and domain_room(host) then return give_alone(one) end
    end
end

end

local function allowed_now()
    if allowed >= 0 then return allowed end
    local PAGES_MAX, BYTES_MAX = 11, 12
    if R[BYTES_MAX] > 0 and T.bytes >= R[BYTES_MAX] then return 0 end
    return R[PAGES_MAX] > 0 and max(0, R[PAGES_MAX] - T.pages - T.leased) or LEASE_MAX
end

local next_due
do
local function first_score(key)
    return tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
end

function next_due()
    -- When asking again makes sense, as a time; nil: time alone changes nothing.
    local held = me[W_HELD] + elsewhere
    if me[W_ALONE] > 0 then return nil end
    if T.drain_worker == worker_name then
        local one = by_number(T.drain_request)
        if one then
            local open = open_ms(host_of(one[1][HOST]))
            return held == 0 and open > now and open or nil
        end
    end
    local first = nil
    local function consider(time)
        if time and time < (first or math.huge) then first = time end
    end
    local rows
    if domains.again == nil then
        rows = call('ZRANGE', P .. 'ready', 0, 1, 'WITHSCORES')
    elseif domains.again then
        rows = {'', now}
    else -- those that are due now have no room in their domains
        rows = call('ZRANGEBYSCORE', P .. 'ready', '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 2)
    end
    if T.drain_host ~= '' and rows[1] and rows[1]:sub(5) == T.drain_host then
        consider(tonumber(rows[4]))
    else
        consider(tonumber(rows[2]))
    end
    consider(first_score(P .. 'delayed'))
    for _, key in ipairs({P .. 'expiry', P .. 'producer_expiry'}) do
        local ends = first_score(key)
        if ends then consider(max(T.grace_ms, ends)) end
    end
    for _, one in ipairs(waiting_suspects()) do
        local host = host_of(one[1][HOST])
        local time = max(open_ms(host), held > 0 and one[2] + R[SUSPECT_WAIT_MS] or 0)
        if time > now and room(host) > 0 then consider(time) end
    end
    if call('EXISTS', P .. 'down') == 1 then consider(now) end
    return first
end

end

local function answer(due)
    save_all()
    local draining = T.drain_worker == worker_name and 1 or 0
    local text = due and string.format('%.0f', max(0, due - now)) or ''
    local facts = array(6) .. encode(draining, T.suspects, me[W_HELD], me[W_ALONE], domains.strangers) .. array(#new.facts)
    if #new.facts > 0 then facts = facts .. encode(unpack(new.facts)) end
    return {text, facts, unpack(new.raws)}
end

look_at_clock()
if stale(me[W_SEEN_MS]) then me[W_SEEN_MS] = wall end
local range = call('HGET', P .. 'batches', request_id)
if range then
    -- Repeated: those that are still current, and nothing new (rule 3).
    local first, last = range_of(range)
    local serials = {}
    for serial = first, last do serials[#serials + 1] = tostring(serial) end
    local leases = leases_of(serials)
    for _, serial in ipairs(serials) do
        local lease = leases[serial]
        if lease then
            host_made(lease[L_HOST])
            local raw = lease[PAGE] == 1 and call('HGET', P .. 'taken', serial) or ''
            tell_lease(serial, lease[L_HOST], lease[L_ORIGIN], lease[L_ATTEMPTS], lease[L_CRASHES], lease[ALONE],
                lease[PAGE], raw)
        end
    end
    return answer(next_due())
end
tidy()
if count < 0 and allowed_now() > 0 and not paused then return answer(next_due()) end
count = min(count, LEASE_MAX, allowed_now())
if count <= 0 or paused or me[W_ALONE] > 0 then return answer(nil) end
if R[PER_DOMAIN] > 0 and not prepare_domains() then return answer(now) end
local drained = drain()
if drained then
    local host = host_of(drained[1][HOST])
    if me[W_HELD] + elsewhere == 0 and may_give(host) and domain_room(host) then give_alone(drained) end
else
    give_ready()
    if #new.serials == 0 and me[W_HELD] + elsewhere == 0 and suspects_wanted then give_suspect() end
end
save_new()
save_hosts()
if spoiled and #new.serials == 0 then
    save_all()
    return spoiled
end
local problem = #new.serials == 0 and find_lost()
if problem then return problem end
return answer(#new.serials == count and now or next_due())
