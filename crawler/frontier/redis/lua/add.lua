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
    for i, row in ipairs(rows) do
        if not row[7] then
            if call('SISMEMBER', bucket_of(row[3]), row[2]) == 0 then refused[#refused + 1] = row[2] end
        elseif call('SADD', bucket_of(row[3]), row[2]) == 1 then
            fresh[#fresh + 1] = i
        end
    end
    local wanted, met = {}, {}
    for _, i in ipairs(fresh) do
        local at = rows[i][1]
        if not met[at] then met[at], wanted[#wanted + 1] = true, names[at] end
    end
    load_hosts(wanted)
    for _, name in ipairs(wanted) do host_made(name) end
end

local problem = nil
local function refuse(key, some, why)
    -- The rows of one key stay unseen; all others are admitted all the same.
    problem = unsee(some, text_of_error(why) .. ' (' .. key .. ')')
    return #some
end

local function enqueue()
    -- Returns how many could not be.
    local queues, failed = {}, 0 -- by key: elements, and the rows that they are
    for _, i in ipairs(fresh) do
        local row = rows[i]
        local name, number = names[row[1]], T.number + i
        local entry = (watched or row[6] > wall) and {number, row[4], row[5], 0, 0, name, row[7]}
        if row[6] > wall then
            local done, why = pcall(delay_until, entry, row[6] + skew)
            if not done then failed = failed + refuse(P .. 'delayed', {i}, why) end
        else
            local key = queue_of(name, row[5])
            local queue = queues[key]
            if not queue then
                queue = {{}, {}}
                queues[key] = queue
            end
            local at = #queue[2] + 1
            queue[1][at], queue[2][at] = struct.pack('>BI5', row[4], number) .. row[7], i
        end
        if watched then tell('added', entry) end
    end
    for key, queue in pairs(queues) do
        local answer, some = redis.pcall('RPUSH', key, unpack(queue[1])), queue[2]
        if type(answer) == 'number' then
            local row = rows[some[1]]
            local host = hosts[names[row[1]]]
            host[READY], T.ready = host[READY] + #some, T.ready + #some
            if not has_bit(host[MASK], row[5]) then host[MASK] = host[MASK] + 2 ^ row[5] end
        else
            failed = failed + refuse(key, some, answer)
        end
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
