-- What a lease call does on the side: reap, promote, bury, and find what somebody took out of sight. At most REAP_MAX
-- requests a call.

local tidy, find_lost
do -- a script may have 200 locals at a time

local function by_time_and_serial(a, b)
    return a[1] < b[1] or (a[1] == b[1] and tonumber(a[2]) < tonumber(b[2]))
end

local function reap_damaged(serial, name, member)
    -- A lease without a readable record: keep what is left of it, free its host and its worker.
    local raw = call('HGET', P .. 'taken', serial)
    call('ZREM', P .. 'expiry', member)
    local known = call('HDEL', P .. 'leases', serial) + call('HDEL', P .. 'taken', serial) > 0
    known = let_go(serial) or known
    if not known then return end -- nobody's
    local host = host_made(name)
    local page = raw or host[ASKING] == 0
    host[IN_FLIGHT], host[ASKING] = max(0, host[IN_FLIGHT] - 1), 0
    if page then
        T.leased = max(0, T.leased - 1)
        bury({0, 0, 0, 0, 0, name, (raw or ''):sub(7)}, 'damaged_record', 'lease ' .. serial)
    end
end

local function reap(budget)
    local rows = call('ZRANGEBYSCORE', P .. 'expiry', '-inf', now, 'WITHSCORES', 'LIMIT', 0, budget)
    local lapsed, serials = {}, {}
    for i = 1, #rows, 2 do
        local serial, name = string.match(rows[i], '^(%d+) (.*)$')
        if serial then
            lapsed[#lapsed + 1] = {tonumber(rows[i + 1]), serial, name, rows[i]}
            serials[#serials + 1] = serial
        else
            call('ZREM', P .. 'expiry', rows[i]) -- no lease's
        end
    end
    table.sort(lapsed, by_time_and_serial)
    local leases = leases_of(serials)
    for _, one in ipairs(lapsed) do
        local serial, name = one[2], one[3]
        if leases[serial] then
            died(serial, leases[serial])
        else
            reap_damaged(serial, name, one[4])
        end
    end
    for _, serial in ipairs(call('ZRANGEBYSCORE', P .. 'producer_expiry', '-inf', now, 'LIMIT', 0, REAP_MAX)) do
        lose_producer(serial, producer_of(serial)[1])
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
        took_delayed(entries[i])
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
            local found = suspects()
            local all = #found >= T.suspects
            for _, one in ipairs(found) do
                if budget > 0 and one[1][HOST] == name then
                    take_suspect(one)
                    bury(one[1], 'host_down', '')
                    budget = budget - 1
                end
            end
            if budget > 0 and all then host[SUSPECTS] = 0 end -- one that was damaged still counts there
        end
    end
end

function tidy()
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

local function recount(name)
    -- What the host's queues hold, with nothing in flight.
    local host, before = host_made(name), host_of(name)[READY]
    local back, ready, mask = call('ZCARD', P .. 'back:' .. name), 0, 0
    for priority = 0, PRIORITY_MAX do
        local length = call('LLEN', P .. 'q:' .. priority .. ':' .. name)
        if length > 0 then ready, mask = ready + length, mask + 2 ^ priority end
    end
    host[READY], host[BACK], host[MASK] = ready + back, back, mask
    host[PLACED], host[IN_FLIGHT], host[ASKING] = 0, 0, 0
    T.ready = max(0, T.ready + min(0, host[READY] - before)) -- `before` may be less than there was, never more
    return host[READY] > 0
end

function find_lost()
    -- Requests are READY, nothing is in flight, and yet no host stands among those that may be asked: somebody took keys
    -- away. Look through the hosts, a piece a call. Returns an error when they hold none: then they are lost.
    if T.ready == 0 and T.delayed == 0 and T.suspects == 0 then return nil end
    if call('EXISTS', P .. 'ready', P .. 'expiry', P .. 'leases', P .. 'down') > 0 then return nil end
    for _, field in ipairs({'delayed', 'suspects'}) do
        if T[field] > 0 and call('EXISTS', P .. field) == 0 then
            save_all()
            return damaged(T[field] .. ' requests are counted as ' .. field .. ', and the key that held them is gone')
        end
    end
    if T.ready == 0 then return nil end
    local cursor, found = string.match(call('HGET', KEYS[1], 'looking') or '', '^(%d+),(%d)$')
    local piece = call('HSCAN', P .. 'hosts', cursor or '0', 'COUNT', REAP_MAX)
    local names, revived = {}, found == '1'
    for i = 1, #piece[2], 2 do names[#names + 1] = piece[2][i] end
    load_hosts(names)
    for _, name in ipairs(names) do revived = recount(name) or revived end
    save_hosts()
    if piece[1] ~= '0' then
        call('HSET', KEYS[1], 'looking', piece[1] .. ',' .. (revived and 1 or 0))
    else
        call('HDEL', KEYS[1], 'looking')
        if not revived and T.ready ~= 0 then
            save_all()
            return damaged(T.ready .. ' requests are counted as ready, and no queue that is known holds them')
        end
    end
end
end
