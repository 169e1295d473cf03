-- include shard moves
-- Dead letters back to READY with a clean slate, or forgotten.
--
-- ARGV[3]  'kick' or 'drop'      ARGV[4]  a host to be no longer down, or ''      ARGV[5…]  numbers of death
-- Returns {how many there were, how many of the numbers were looked at}: the rest, when requests of CALL_BYTES_MAX were
-- moved, is for another call.

local verb, name = ARGV[3], ARGV[4]
if name ~= '' and host_of(name) then
    local host = host_made(name)
    host[DOWN], host[FAILURES], host[PAUSED_MS] = 0, 0, 0
end
local count, looked, moved = 0, 0, 0
for i = 5, #ARGV do
    if moved >= CALL_BYTES_MAX then break end
    looked = looked + 1
    local member = call('ZRANGEBYSCORE', P .. 'dead', ARGV[i], ARGV[i])[1]
    moved = moved + (member and #member or 0)
    local whole, letter = pcall(decode, member and member:sub(7) or '')
    local entry = whole and type(letter) == 'table' and letter[1]
    -- What was damaged cannot be tried again, only dropped.
    local usable = type(entry) == 'table' and type(entry[HOST]) == 'string' and entry[HOST] ~= ''
        and type(entry[NUMBER]) == 'number' and entry[NUMBER] > 0 and QUEUES[entry[PRIORITY]] and entry[PAYLOAD]
    if member and (usable or verb == 'drop') then
        call('ZREM', P .. 'dead', member)
        T.dead, count = max(0, T.dead - 1), count + 1
        if type(entry) == 'table' and type(entry[HOST]) == 'string' then
            local host = host_made(entry[HOST])
            host[DEAD] = max(0, host[DEAD] - 1)
        end
        if verb == 'kick' then
            entry[ATTEMPTS], entry[CRASHES] = 0, 0
            tell('kicked', entry)
            come_back(entry)
        else
            T.dropped = T.dropped + 1
            if usable then tell('dropped', entry) end
        end
    end
end
save()
return {count, looked}
