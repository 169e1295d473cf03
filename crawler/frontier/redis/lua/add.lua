-- include shard moves
-- Admit those never seen. Seen and enqueue are one step (rule 1).
--
-- ARGV[3]  MessagePack: {producer, hosts, rows}. producer: its number, 0 for found links, which are always admitted.
--          hosts: names. rows: {index of the host, fingerprint as text, its low 24 bits, origin, priority, not before
--          (ms), payload}; a payload that is too large is false.
-- Returns {state, new, refused}: state 0 added, 1 full, 2 the producer is no longer current; refused: fingerprints of
-- those that are too large and were never seen.

-- The fingerprints are 64-bit integers in sets small enough for Redis to keep them as sorted arrays (9 bytes each
-- instead of 60). Linear hashing (Litwin 1980): with every FILL fingerprints one more bucket is split, in order, so the
-- bucket of a fingerprint follows from its low bits and the number of buckets alone.
local FILL = 220
local SPLITS_MAX = 4

local function low_bits(text, modulus)
    -- Of a 64-bit integer in decimal: doubles are too short for it as a whole.
    local digits = text:gsub('-', '')
    local high, low = digits:sub(1, -10), digits:sub(-9)
    local value = ((tonumber(high) or 0) % modulus * (1000000000 % modulus) + tonumber(low)) % modulus
    return text:sub(1, 1) == '-' and (modulus - value) % modulus or value
end

local level = 1 -- the largest power of two that is not above the number of buckets
local function find_level()
    while level * 2 <= T.buckets do level = level * 2 end
end

local function bucket_of(low)
    local bucket = low % level
    if bucket < T.buckets - level then bucket = low % (level * 2) end
    return P .. 'seen:' .. bucket
end

local function split()
    local bucket = T.buckets - level
    local key, stay, go = P .. 'seen:' .. bucket, {}, {}
    for _, text in ipairs(call('SMEMBERS', key)) do
        local half = low_bits(text, level * 2) < level and stay or go
        half[#half + 1] = text
    end
    if #go > 0 then call('SADD', P .. 'seen:' .. bucket + level, unpack(go)) end
    call('DEL', key) -- written anew, so that one that outgrew the array form shrinks back to it
    if #stay > 0 then call('SADD', key, unpack(stay)) end
    T.buckets = T.buckets + 1
    find_level()
end

local PENDING_MAX = 4
local batch = decode(ARGV[3])
local producer, names, rows = batch[1], batch[2], batch[3]
if producer > 0 then
    if producer_of(producer)[2] ~= 'open' then return {2, 0, {}} end
    if R[PENDING_MAX] > 0 and T.ready + T.delayed - T.revisits >= R[PENDING_MAX] then return {1, 0, {}} end
end

T.buckets = max(1, T.buckets)
find_level()
local fresh, refused = {}, {}

-- A script that fails is not rolled back, so what may fail, since somebody wrote into a key, comes first, or is undone:
-- a page is never seen and not queued.

local function text_of_error(problem)
    return type(problem) == 'table' and problem.err or tostring(problem)
end

local function unsee(some, problem)
    for _, i in ipairs(some) do redis.pcall('SREM', bucket_of(rows[i][3]), rows[i][2]) end
    return redis.error_reply(problem)
end

local function see()
    for _, key in ipairs({'ready', 'down'}) do call('ZCARD', P .. key) end
    call('HLEN', P .. 'hosts')
    for i, row in ipairs(rows) do
        if not row[7] then
            if call('SISMEMBER', bucket_of(row[3]), row[2]) == 0 then refused[#refused + 1] = row[2] end
        elseif call('SADD', bucket_of(row[3]), row[2]) == 1 then
            fresh[#fresh + 1] = i
        end
    end
end

local problem = nil
local function refuse(key, some, why)
    -- The rows of one key stay unseen; all others are admitted all the same.
    problem = unsee(some, text_of_error(why) .. ' (' .. key .. ')')
    return #some
end

local function sorted_out()
    -- Queues in the order of their first rows, each {key, name, priority, elements, the rows that they are}; rows that
    -- are not due yet.
    local queues, later, places = {}, {}, {}
    for _, i in ipairs(fresh) do
        local row = rows[i]
        if row[6] > wall then
            later[#later + 1] = i
        else
            local place = row[1] * (PRIORITY_MAX + 1) + row[5]
            local queue = places[place]
            if not queue then
                queue = {queue_of(names[row[1]], row[5]), names[row[1]], row[5], {}, {}}
                places[place], queues[#queues + 1] = queue, queue
            end
            local at = #queue[5] + 1
            queue[4][at], queue[5][at] = struct.pack('>BI5', row[4], T.number + i) .. row[7], i
        end
    end
    return queues, later
end

local function push(queues)
    -- Returns the queues that were empty, which hosts are theirs, and how many rows could not be queued. Of the other
    -- queues the hosts know that they hold something, and when it is due: their records, most of the cost, stay as they are.
    local begun, theirs, failed = {}, {}, 0
    for _, queue in ipairs(queues) do
        local key, name, elements, some = queue[1], queue[2], queue[4], queue[5]
        local answer = redis.pcall('RPUSH', key, unpack(elements))
        if type(answer) ~= 'number' then
            failed = failed + refuse(key, some, answer)
        else
            T.ready = T.ready + #some
            if answer == #some then begun[#begun + 1], theirs[name] = queue, true end
        end
    end
    return begun, theirs, failed
end

local function make_hosts(wanted)
    -- In the order of the rows: it decides on their turns (rule 10).
    local ordered = {}
    for _, i in ipairs(fresh) do
        local name = names[rows[i][1]]
        if wanted[name] then ordered[#ordered + 1], wanted[name] = name, nil end
    end
    load_hosts(ordered)
    for _, name in ipairs(ordered) do host_made(name) end
end

local function take_off(begun, later, why)
    -- Their hosts cannot be read. Returns how many rows these are.
    local failed = 0
    for _, queue in ipairs(begun) do
        call('DEL', queue[1])
        T.ready, failed = T.ready - #queue[5], failed + refuse(queue[1], queue[5], why)
    end
    return failed + (#later > 0 and refuse(P .. 'hosts', later, why) or 0)
end

local function entry_of_row(i)
    local row = rows[i]
    return {T.number + i, row[4], row[5], 0, 0, names[row[1]], row[7]}
end

local function enqueue()
    -- Returns how many could not be.
    local queues, later = sorted_out()
    local begun, wanted, failed = push(queues)
    for _, i in ipairs(later) do wanted[names[rows[i][1]]] = true end
    if #begun + #later > 0 then
        local made, why = pcall(make_hosts, wanted)
        if not made then return failed + take_off(begun, later, why) end
    end
    for _, queue in ipairs(begun) do
        local host, priority = hosts[queue[2]], queue[3]
        if not has_bit(host[MASK], priority) then host[MASK] = host[MASK] + 2 ^ priority end
        count_ready(queue[2], host)
    end
    for _, i in ipairs(later) do
        local done, why = pcall(delay_until, entry_of_row(i), rows[i][6] + skew)
        if not done then failed = failed + refuse(P .. 'delayed', {i}, why) end
    end
    if watched then
        for _, i in ipairs(fresh) do tell('added', entry_of_row(i)) end
    end
    return failed
end

local function split_some()
    for _ = 1, SPLITS_MAX do
        if T.seen <= T.buckets * FILL then return end
        split()
    end
end

local seen, why = pcall(see)
if not seen then return unsee(fresh, text_of_error(why)) end
if #fresh > 0 then
    local admitted = #fresh - enqueue()
    T.number, T.added, T.seen = T.number + #rows, T.added + admitted, T.seen + admitted
    pcall(split_some) -- a bucket that is not ours stays as it is
    save()
end
return problem or {0, #fresh, refused}
