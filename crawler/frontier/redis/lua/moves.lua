-- The moves of a request between its places: queued, delayed, leased, suspect, dead. Counters change here and nowhere
-- else.

local ORIGINS = {[0] = {'http://', ''}, {'https://', ''}, {'http://', ':443'}, {'https://', ':80'}}

local QUEUES = {}
for priority = 0, PRIORITY_MAX do QUEUES[priority] = P .. 'q:' .. priority .. ':' end

local function plain(name)
    -- Whether it can be a host's: what is no text in UTF-8 could not be told to anybody.
    return type(name) == 'string' and name ~= '' and not name:find('[^!-~]')
end

local function entry_of(packed)
    -- A damaged one becomes an entry without a host: `bury` keeps what is left of it.
    local whole, entry = pcall(decode, packed)
    if whole and type(entry) == 'table' and #entry == 7 and plain(entry[HOST])
        and type(entry[PAYLOAD]) == 'string' and ORIGINS[entry[ORIGIN]] and QUEUES[entry[PRIORITY]]
        and type(entry[NUMBER]) == 'number' and type(entry[ATTEMPTS]) == 'number' and type(entry[CRASHES]) == 'number' then
        return entry
    end
    return {0, 0, 0, 0, 0, '', packed}
end

-- Queued: those that come in order stand in a list for each host and priority, those that came back in a sorted set
-- with their place. A list's element is origin and number (6 bytes), then the payload.

local function queue_of(name, priority)
    return QUEUES[priority] .. name
end

local function place_of(priority, number)
    return (PRIORITY_MAX - priority) * RANK + number
end

local function has_bit(mask, priority)
    return floor(mask / 2 ^ priority) % 2 == 1
end

local function count_ready(name, host)
    -- What there is now, those too that were queued behind others and not counted. A queue that is not ours counts as
    -- one: nothing may fail here, and whoever takes from it says so.
    local ready = host[BACK]
    for priority = 0, PRIORITY_MAX do
        if has_bit(host[MASK], priority) then
            local length = redis.pcall('LLEN', queue_of(name, priority))
            ready = ready + (type(length) == 'number' and length or 1)
        end
    end
    host[READY] = ready
end

local function come_back(entry)
    -- READY again, at its old place.
    local host = host_made(entry[HOST])
    call('ZADD', P .. 'back:' .. entry[HOST], place_of(entry[PRIORITY], entry[NUMBER]), encode(entry))
    host[READY], host[BACK], T.ready = host[READY] + 1, host[BACK] + 1, T.ready + 1
end

local function raw_of(entry)
    return entry[RAW] or struct.pack('>BI5', entry[ORIGIN], entry[NUMBER]) .. entry[PAYLOAD]
end

local take_ready
do
local function first_back(name)
    -- The one that goes first among those that came back, packed and as an entry.
    local key = P .. 'back:' .. name
    local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if first[1] and R[LIFO] == 1 then
        local rank = floor(tonumber(first[2]) / RANK) * RANK
        first = call('ZREVRANGEBYSCORE', key, '(' .. string.format('%.0f', rank + RANK), rank, 'LIMIT', 0, 1)
    end
    return first[1], first[1] and entry_of(first[1])
end

local function first_queued(name, host)
    -- Which queue goes first, and the number of its head; nil when all are empty.
    for priority = PRIORITY_MAX, 0, -1 do
        if has_bit(host[MASK], priority) then
            local head = call('LINDEX', queue_of(name, priority), R[LIFO] == 1 and -1 or 0)
            if head then return priority, #head > 5 and struct.unpack('>I5', head, 2) or 0 end
            host[MASK] = host[MASK] - 2 ^ priority
        end
    end
end

local function take_queued(name, host, priority)
    local raw = call(R[LIFO] == 1 and 'RPOP' or 'LPOP', queue_of(name, priority))
    if not raw then return nil end
    host[READY], T.ready = host[READY] - 1, max(0, T.ready - 1)
    if #raw < 6 then return {0, 0, priority, 0, 0, name, raw} end
    local origin, number = struct.unpack('>BI5', raw)
    if origin > 3 then origin = 0 end
    return {number, origin, priority, 0, 0, name, false, raw}
end

local function put_back(name, host, entry)
    -- Undo `take_queued`.
    local raw = raw_of(entry)
    call(R[LIFO] == 1 and 'RPUSH' or 'LPUSH', queue_of(name, entry[PRIORITY]), raw)
    host[READY], T.ready = host[READY] + 1, T.ready + 1
end

function take_ready(name, host, accept)
    -- The host's first READY entry (rule 10), or nil. One that `accept` refuses stays, and is returned with false.
    local taken, packed, back
    if host[BACK] > 0 then
        packed, back = first_back(name)
        if not packed then host[BACK] = 0 end
    end
    if not back and (host[MASK] == 1 or host[READY] > 0) then
        -- The usual case: no comparison, one call.
        local priority = 0
        if host[MASK] ~= 1 then priority = first_queued(name, host) end
        if priority then taken = take_queued(name, host, priority) end
        if not taken and priority then
            host[MASK] = host[MASK] - 2 ^ priority
            if host[MASK] > 0 then return take_ready(name, host, accept) end
        end
        if not taken then
            T.ready, host[READY], host[MASK] = max(0, T.ready - host[READY]), 0, 0 -- a queue that somebody took away
            return nil
        end
    elseif back then
        local priority, number = first_queued(name, host)
        local before = priority and (priority > back[PRIORITY] or (priority == back[PRIORITY]
            and (R[LIFO] == 1 and number > back[NUMBER] or R[LIFO] == 0 and number < back[NUMBER])))
        if before then taken = take_queued(name, host, priority) end
    end
    if taken then
        if accept and not accept(host, taken) then
            put_back(name, host, taken)
            return taken, false
        end
        if host[READY] <= 0 then count_ready(name, host) end
        return taken, true
    end
    if not back then return nil end
    back[HOST] = name
    if accept and not accept(host, back) then return back, false end
    call('ZREM', P .. 'back:' .. name, packed)
    host[READY], host[BACK], T.ready = host[READY] - 1, host[BACK] - 1, max(0, T.ready - 1)
    if host[READY] <= 0 then count_ready(name, host) end
    return back, true
end

end

-- Delayed, suspect, dead.

local function numbered(entry)
    -- Among equal scores the number decides.
    return struct.pack('>I6', entry[NUMBER]) .. encode(entry)
end

local function later(entry)
    -- 1 for a DELAYED entry that is a later visit and was not due yet when it was admitted (rule 18), else 0. What was
    -- tried before has attempts.
    if entry[ATTEMPTS] > 0 or not entry[PAYLOAD]:find('"visit":', 1, true) then return 0 end
    local whole, request = pcall(cjson.decode, entry[PAYLOAD])
    return whole and type(request) == 'table' and (tonumber(request.visit) or 0) > 0 and 1 or 0
end

local function took_delayed(entry)
    -- It is out of `delayed` already; its host is for the caller.
    T.delayed, T.revisits = max(0, T.delayed - 1), max(0, T.revisits - later(entry))
end

local function delay_until(entry, due_ms)
    call('ZADD', P .. 'delayed', due_ms, numbered(entry))
    local host = host_made(entry[HOST])
    host[DELAYED], T.delayed, T.revisits = host[DELAYED] + 1, T.delayed + 1, T.revisits + later(entry)
end

local function suspect(entry, since_ms)
    call('ZADD', P .. 'suspects', since_ms, numbered(entry))
    local host = host_made(entry[HOST])
    host[SUSPECTS], T.suspects = host[SUSPECTS] + 1, T.suspects + 1
    tell('suspect', entry)
end

local function suspects()
    -- The first of them: {entry, since_ms, member} each.
    if T.suspects == 0 then return {} end
    local found, names = {}, {}
    local rows = call('ZRANGE', P .. 'suspects', 0, REAP_MAX - 1, 'WITHSCORES')
    for i = 1, #rows, 2 do
        local entry = entry_of(rows[i]:sub(7))
        found[#found + 1] = {entry, tonumber(rows[i + 1]), rows[i]}
        names[#names + 1] = entry[HOST]
    end
    load_hosts(names)
    for _, one in ipairs(found) do host_made(one[1][HOST]) end
    return found
end

local function take_suspect(one)
    call('ZREM', P .. 'suspects', one[3])
    local host = host_made(one[1][HOST])
    host[SUSPECTS], T.suspects = host[SUSPECTS] - 1, T.suspects - 1
end

local function bury(entry, reason, detail)
    complete(entry)
    T.died, T.dead = T.died + 1, T.dead + 1
    call('ZADD', P .. 'dead', T.died, struct.pack('>I6', T.died) .. encode({entry, reason, detail, wall}))
    local host = host_made(entry[HOST])
    host[DEAD] = host[DEAD] + 1
    count_reason('bury:' .. reason)
    tell('bury', entry, nil, reason)
end

-- Workers.

local workers = {}

local function worker_of(name)
    if not workers[name] then
        local packed = call('HGET', P .. 'workers', name)
        local whole, worker = pcall(decode, packed or '')
        local sound = packed and whole and type(worker) == 'table' and #worker == 5
        for i = 1, 5 do sound = sound and type(worker[i]) == 'number' end
        if not sound then worker = {0, 0, 0, 0, 0} end
        workers[name] = worker
    end
    return workers[name]
end

local function save_workers()
    for name, worker in pairs(workers) do call('HSET', P .. 'workers', name, encode(worker)) end
end

-- Leases: `leases` and `taken` by serial, `expiry` by time, `held:<worker>` for who dies, `batches` for the serials that
-- a request_id stands for. `ended` is done at once by `save_leases`.
-- Serials are texts here: Redis wants them so, and each would be written out four times.

local ended = {serials = {}, members = {}, workers = {}}

local function expiry_member(serial, name)
    -- With the host, so that it can be freed even if the lease's record was damaged.
    return serial .. ' ' .. name
end

local function leases_of(serials)
    -- Current leases by serial; a damaged record is left to lapse.
    local found, names = {}, {}
    if #serials == 0 then return found end
    local raws = call('HMGET', P .. 'leases', unpack(serials))
    for i, serial in ipairs(serials) do
        if raws[i] then
            local lease = {pcall(decode, raws[i])}
            if lease[1] and #lease == L_CRASHES and plain(lease[L_HOST]) then
                found[serial] = lease
                names[#names + 1] = lease[L_HOST]
            end
        end
    end
    load_hosts(names)
    return found
end

local function pack_lease(lease)
    return encode(unpack(lease, 2, L_CRASHES))
end

local function range_of(text)
    -- The first and the last serial of a batch; without any when somebody wrote something else there.
    local first, last = string.match(text or '', '^(%d+),(%d+)$')
    first, last = tonumber(first), tonumber(last)
    if not first or last - first >= LEASE_MAX then return 1, 0 end
    return first, last
end

local ranges = {}
local function owns(request_id, serial)
    -- Whether the lease was given for this request.
    local range = ranges[request_id]
    if not range then
        range = {range_of(call('HGET', P .. 'batches', request_id))}
        ranges[request_id] = range
    end
    local number = tonumber(serial)
    return number >= range[1] and number <= range[2]
end

local function entry_under(serial, lease)
    -- What is leased.
    local raw = call('HGET', P .. 'taken', serial) or ''
    local origin, number = lease[L_ORIGIN], 0
    if #raw > 5 then origin, number = struct.unpack('>BI5', raw) end
    if origin > 3 then origin = lease[L_ORIGIN] end
    return {number, origin, lease[L_PRIORITY], lease[L_ATTEMPTS], lease[L_CRASHES], lease[L_HOST], raw:sub(7)}
end

local function take(serial, lease)
    -- The lease is no longer current; where its request goes is for the caller.
    ended.serials[#ended.serials + 1] = serial
    ended.members[#ended.members + 1] = expiry_member(serial, lease[L_HOST])
    local name = lease[WORKER]
    local held = ended.workers[name] or {}
    held[#held + 1], ended.workers[name] = serial, held
    local worker, host = worker_of(name), host_made(lease[L_HOST])
    worker[W_HELD] = max(0, worker[W_HELD] - 1)
    if lease[PAGE] == 1 then
        worker[W_LEASED], T.leased = worker[W_LEASED] - 1, T.leased - 1
        if lease[ALONE] == 1 then worker[W_ALONE] = worker[W_ALONE] - 1 end
    else
        host[ASKING] = 0
    end
    return host, worker
end

local function save_leases()
    if #ended.serials > 0 then
        call('ZREM', P .. 'expiry', unpack(ended.members))
        call('HDEL', P .. 'leases', unpack(ended.serials))
        call('HDEL', P .. 'taken', unpack(ended.serials))
        for name, held in pairs(ended.workers) do call('SREM', P .. 'held:' .. name, unpack(held)) end
        ended = {serials = {}, members = {}, workers = {}}
    end
end

local function fetch_ended(host, took_ms)
    -- The delay starts. took_ms: how long the fetch was; nil: not known.
    host[IN_FLIGHT] = max(0, host[IN_FLIGHT] - 1)
    if took_ms then note_latency(host, took_ms) end
    leave_alone(host, 1)
end

local function died(serial, lease)
    -- The lease ended without an outcome (rule 4).
    local host = take(serial, lease)
    if lease[FETCHED] == 0 then
        -- The server may be at it for a while yet, so the host is left alone twice as long.
        host[IN_FLIGHT] = max(0, host[IN_FLIGHT] - 1)
        leave_alone(host, 2)
    end
    if lease[PAGE] == 0 then return end
    local entry = entry_under(serial, lease)
    if lease[ALONE] == 1 then
        entry[CRASHES], T.crashes = entry[CRASHES] + 1, T.crashes + 1
        if entry[CRASHES] >= R[CRASHES_MAX] then
            return bury(entry, 'crashed', entry[CRASHES] .. ' workers died holding this page and nothing else: killed, out '
                .. 'of memory, or over parse_max_s')
        end
    end
    suspect(entry, now)
end

local function forfeit_held(name, limit)
    -- A dead worker's leases, oldest first, at most `limit`.
    local serials = call('SMEMBERS', P .. 'held:' .. name)
    table.sort(serials, function(a, b) return (tonumber(a) or 0) < (tonumber(b) or 0) end)
    local more = #serials > limit and 1 or 0
    for i = #serials, limit + 1, -1 do serials[i] = nil end
    local leases, count, unknown = leases_of(serials), 0, {}
    for _, serial in ipairs(serials) do
        if leases[serial] then
            died(serial, leases[serial])
            count = count + 1
        else
            unknown[#unknown + 1] = serial -- damaged: what is left of it is buried when it lapses
        end
    end
    if #unknown > 0 then call('SREM', P .. 'held:' .. name, unpack(unknown)) end
    if more == 0 and call('HEXISTS', P .. 'workers', name) == 1 then
        local worker = worker_of(name)
        worker[W_HELD], worker[W_ALONE], worker[W_LEASED] = 0, 0, 0
    end
    return count, more
end

local function let_go(serial)
    -- A lease whose record is damaged: whoever holds it no longer does. Whether somebody did.
    for _, name in ipairs(call('HKEYS', P .. 'workers')) do
        if call('SREM', P .. 'held:' .. name, serial) == 1 then
            local worker = worker_of(name)
            worker[W_HELD], worker[W_LEASED] = max(0, worker[W_HELD] - 1), max(0, worker[W_LEASED] - 1)
            if call('EXISTS', P .. 'held:' .. name) == 0 then worker[W_HELD], worker[W_ALONE], worker[W_LEASED] = 0, 0, 0 end
            return true
        end
    end
    return false
end

local function save_all()
    save_leases()
    save_workers()
    save()
end
