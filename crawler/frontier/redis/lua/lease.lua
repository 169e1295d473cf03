-- include shard moves clock
-- Promise requests to a worker: reap, promote and bury on the side, then choose (rules 3 to 12). One step.
--
-- ARGV[3]  how many at most; -1: nothing new, only when something is due      ARGV[4]  the worker
-- ARGV[5]  the request_id
-- ARGV[6]  how many leases the worker holds in other shards      ARGV[7]  0: no suspect may be given
-- ARGV[8]  how many the limits of the crawl leave, over all shards; -1: this shard knows
-- Returns {due, facts, raw, …}: due: ms from now as text, '' for none. facts: MessagePack {draining, suspects, held,
-- alone, leases}; held, alone: how many the worker has in this shard now; leases: for each raw these eight: serial as
-- text, host, origin, attempts, crashes, alone, robots, stamp.

local count, worker_name, request_id = tonumber(ARGV[3]), ARGV[4], ARGV[5]
local elsewhere, suspects_wanted, allowed = tonumber(ARGV[6]), ARGV[7] == '1', tonumber(ARGV[8])

local function by_time_and_serial(a, b)
    return a[1] < b[1] or (a[1] == b[1] and tonumber(a[2]) < tonumber(b[2]))
end

local function reap(budget)
    local rows = call('ZRANGEBYSCORE', P .. 'expiry', '-inf', now, 'WITHSCORES', 'LIMIT', 0, budget)
    local lapsed, serials = {}, {}
    for i = 1, #rows, 2 do
        local serial, name = string.match(rows[i], '^(%d+) (.*)$')
        lapsed[#lapsed + 1] = {tonumber(rows[i + 1]), serial, name, rows[i]}
        serials[#serials + 1] = serial
    end
    table.sort(lapsed, by_time_and_serial)
    local leases = leases_of(serials)
    for _, one in ipairs(lapsed) do
        local serial, name = one[2], one[3]
        if leases[serial] then
            died(serial, leases[serial])
        else -- its record is damaged: keep what is left, free the host
            local raw = call('HGET', P .. 'taken', serial)
            call('ZREM', P .. 'expiry', one[4])
            call('HDEL', P .. 'leases', serial)
            call('HDEL', P .. 'taken', serial)
            local host = host_made(name)
            host[IN_FLIGHT], host[ASKING] = max(0, host[IN_FLIGHT] - 1), 0
            T.leased = max(0, T.leased - 1)
            bury({0, 0, 0, 0, 0, name, (raw or ''):sub(7)}, 'damaged_record', 'lease ' .. serial)
        end
    end
    for _, serial in ipairs(call('ZRANGEBYSCORE', P .. 'producer_expiry', '-inf', now, 'LIMIT', 0, REAP_MAX)) do
        call('ZREM', P .. 'producer_expiry', serial)
        local producer = decode(call('HGET', P .. 'producers', serial))
        call('HSET', P .. 'producers', serial, encode({producer[1], 'lost'}))
        T.open, T.lost = T.open - 1, T.lost + 1
    end
    return budget - #lapsed
end

local function promote(budget)
    local members = call('ZRANGEBYSCORE', P .. 'delayed', '-inf', now, 'LIMIT', 0, budget)
    local names, entries = {}, {}
    for i, member in ipairs(members) do
        entries[i] = entry_of(member:sub(7))
        names[i] = entries[i][HOST]
    end
    load_hosts(names)
    for i, member in ipairs(members) do
        call('ZREM', P .. 'delayed', member)
        T.delayed = T.delayed - 1
        if entries[i][HOST] == '' then
            bury(entries[i], 'damaged_record', 'delayed')
        else
            local host = host_made(names[i])
            host[DELAYED] = host[DELAYED] - 1
            come_back(entries[i])
        end
    end
    return budget - #members
end

local function bury_doomed(budget)
    -- The pages of hosts that are down (rule 9).
    local names = call('ZRANGE', P .. 'down', 0, budget - 1)
    load_hosts(names)
    for _, name in ipairs(names) do
        if budget <= 0 then return end
        local host = host_made(name)
        while budget > 0 and host[READY] > 0 do
            local entry = take_ready(name, host)
            if not entry then break end
            bury(entry, 'host_down', '')
            budget = budget - 1
        end
        if budget > 0 and host[SUSPECTS] > 0 then
            for _, one in ipairs(suspects()) do
                if budget > 0 and one[1][HOST] == name then
                    take_suspect(one)
                    bury(one[1], 'host_down', '')
                    budget = budget - 1
                end
            end
        end
    end
end

local function tidy()
    local budget = REAP_MAX
    if now >= T.grace_ms then budget = reap(budget) end
    if budget > 0 then budget = promote(budget) end
    save_leases()
    save_hosts()
    if budget > 0 and call('EXISTS', P .. 'down') == 1 then
        bury_doomed(budget)
        save_hosts()
    end
end

local me = worker_of(worker_name)
local waiting = nil -- suspects, once asked for
local function waiting_suspects()
    waiting = waiting or suspects()
    return waiting
end

-- Choosing.

local new = {leases = {}, taken = {}, expiry = {}, serials = {}, facts = {}, raws = {}}

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

local function due_names(limit)
    local names = {}
    local reserved = T.drain_host
    for _, member in ipairs(call('ZRANGEBYSCORE', P .. 'ready', '-inf', now, 'LIMIT', 0, limit + 1)) do
        local name = member:sub(5)
        members[name] = member
        if name ~= reserved and #names < limit then names[#names + 1] = name end
    end
    return names
end

local function give_ready()
    -- Round by round one of each due host.
    local turn, left = due_names(count), count
    load_hosts(turn)
    while #turn > 0 and left > 0 do
        local again = {}
        for _, name in ipairs(turn) do
            if left == 0 then break end
            if not hosts[name] then hosts[name] = rescued(name) end
            local host = host_made(name)
            if host[READY] > 0 and room(host) > 0 then
                local entry, known = take_ready(name, host, robots_known)
                if entry then
                    left = left - 1
                    give(name, host, entry, known)
                    if known then again[#again + 1] = name end
                end
            end
        end
        turn = again
    end
end

local function stop_drain()
    T.drain_worker, T.drain_request, T.drain_host = '', 0, ''
end

local function by_number(number)
    for _, one in ipairs(waiting_suspects()) do
        if one[1][NUMBER] == number then return one end
    end
end

local function drain()
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
            if one[2] + R[SUSPECT_WAIT_MS] <= now and may_give(host) then
                T.drain_worker, T.drain_request = worker_name, one[1][NUMBER]
                local limited = R[PER_HOST] > 0 or delay_of(host) > 0
                T.drain_host = limited and one[1][HOST] or ''
                break
            end
        end
    end
    if T.drain_worker ~= worker_name then return nil end
    T.drain_ms = wall
    return by_number(T.drain_request)
end

local function give_alone(one)
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

local function give_suspect()
    -- The one waiting for longest, unless another worker empties its hands for it.
    for _, one in ipairs(waiting_suspects()) do
        local free = one[1][NUMBER] ~= T.drain_request and (T.drain_host == '' or one[1][HOST] ~= T.drain_host)
        if free and may_give(host_of(one[1][HOST])) then return give_alone(one) end
    end
end

local function allowed_now()
    if allowed >= 0 then return allowed end
    if R[BYTES_MAX] > 0 and T.bytes >= R[BYTES_MAX] then return 0 end
    return R[PAGES_MAX] > 0 and max(0, R[PAGES_MAX] - T.pages - T.leased) or LEASE_MAX
end

local function first_score(key)
    return tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
end

local function next_due()
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
        if time and (not first or time < first) then first = time end
    end
    local rows = call('ZRANGE', P .. 'ready', 0, 1, 'WITHSCORES')
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

local function answer(due)
    save_all()
    local draining = T.drain_worker == worker_name and 1 or 0
    local text = due and string.format('%.0f', max(0, due - now)) or ''
    local facts = array(5) .. encode(draining, T.suspects, me[W_HELD], me[W_ALONE]) .. array(#new.facts)
    if #new.facts > 0 then facts = facts .. encode(unpack(new.facts)) end
    return {text, facts, unpack(new.raws)}
end

look_at_clock()
if stale(me[W_SEEN_MS]) then me[W_SEEN_MS] = wall end
local range = call('HGET', P .. 'batches', request_id)
if range then
    -- Repeated: those that are still current, and nothing new (rule 3).
    local first, last = string.match(range, '(%d+),(%d+)')
    local serials = {}
    for serial = tonumber(first), tonumber(last) do serials[#serials + 1] = tostring(serial) end
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
local drained = drain()
if drained then
    if me[W_HELD] + elsewhere == 0 and may_give(host_of(drained[1][HOST])) then give_alone(drained) end
else
    give_ready()
    if #new.serials == 0 and me[W_HELD] + elsewhere == 0 and suspects_wanted then give_suspect() end
end
save_new()
save_hosts()
return answer(#new.serials == count and now or next_due())
