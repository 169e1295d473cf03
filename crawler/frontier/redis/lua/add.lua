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
    call('DEL', key) -- written anew, so that one that outgrew the array form shrinks back to it
    if #stay > 0 then call('SADD', key, unpack(stay)) end
    if #go > 0 then call('SADD', P .. 'seen:' .. bucket + level, unpack(go)) end
    T.buckets = T.buckets + 1
    find_level()
end

local batch = decode(ARGV[3])
local producer, names, rows = batch[1], batch[2], batch[3]
if producer > 0 then
    local packed = call('HGET', P .. 'producers', producer)
    if not packed or decode(packed)[2] ~= 'open' then return {2, 0, {}} end
    if R[PENDING_MAX] > 0 and T.ready + T.delayed >= R[PENDING_MAX] then return {1, 0, {}} end
end

T.buckets = max(1, T.buckets)
find_level()
local queues, fresh, refused = {}, {}, {}
for i, row in ipairs(rows) do
    if not row[7] then
        if call('SISMEMBER', bucket_of(row[3]), row[2]) == 0 then refused[#refused + 1] = row[2] end
    elseif call('SADD', bucket_of(row[3]), row[2]) == 1 then
        fresh[#fresh + 1] = i
    end
end

if #fresh > 0 then
    local wanted = {}
    for _, i in ipairs(fresh) do wanted[#wanted + 1] = names[rows[i][1]] end
    load_hosts(wanted)
    for _, i in ipairs(fresh) do
        local row = rows[i]
        local name, number = names[row[1]], T.number + i
        local host = host_made(name)
        if row[6] > wall then
            delay_until({number, row[4], row[5], 0, 0, name, row[7]}, row[6] + skew)
        else
            local key = queue_of(name, row[5])
            local queue = queues[key] or {}
            queue[#queue + 1], queues[key] = struct.pack('>BI5', row[4], number) .. row[7], queue
            host[READY], T.ready = host[READY] + 1, T.ready + 1
            if not has_bit(host[MASK], row[5]) then host[MASK] = host[MASK] + 2 ^ row[5] end
        end
        if watched then tell('added', {number, row[4], row[5], 0, 0, name, row[7]}) end
    end
    for key, queue in pairs(queues) do call('RPUSH', key, unpack(queue)) end
    T.number, T.added, T.seen = T.number + #rows, T.added + #fresh, T.seen + #fresh
    local splits = 0
    while T.seen > T.buckets * FILL and splits < SPLITS_MAX do
        split()
        splits = splits + 1
    end
    save()
end
return {0, #fresh, refused}
