-- include shard moves
-- Forget READY requests of a host, at most REAP_MAX and CALL_BYTES_MAX, or the DELAYED ones that are named.
--
-- ARGV[3]  the host, or ''      ARGV[4…]  members of `delayed`
-- Returns how many.

local name, count = ARGV[3], 0
if name ~= '' and host_of(name) then
    local host = host_made(name)
    local moved = 0
    while count < REAP_MAX and moved < CALL_BYTES_MAX and host[READY] > 0 do
        local entry = take_ready(name, host)
        if not entry then break end
        moved = moved + #(entry[RAW] or entry[PAYLOAD])
        tell('purged', entry)
        count = count + 1
    end
end
for i = 4, #ARGV do
    local entry = entry_of(ARGV[i]:sub(7))
    if call('ZREM', P .. 'delayed', ARGV[i]) == 1 then
        took_delayed(entry)
        count = count + 1
        local host = host_made(entry[HOST])
        host[DELAYED] = max(0, host[DELAYED] - 1)
        tell('purged', entry)
    end
end
T.dropped = T.dropped + count
save()
return count
