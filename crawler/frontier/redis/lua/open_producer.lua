-- include shard
-- Open a producer; one of the same name is no longer current, whatever it was.
--
-- ARGV[3]  the name
-- Returns its number.

T.opened = T.opened + 1
local before = call('HGET', P .. 'producer_names', ARGV[3])
if before then
    local open = call('ZREM', P .. 'producer_expiry', before) == 1
    local state = open and 'open' or producer_of(before)[2] == 'closed' and 'closed' or 'lost'
    T[state] = max(0, T[state] - 1)
    call('HDEL', P .. 'producers', before)
end
call('HSET', P .. 'producer_names', ARGV[3], T.opened)
call('HSET', P .. 'producers', T.opened, encode({ARGV[3], 'open'}))
call('ZADD', P .. 'producer_expiry', now + R[LEASE_MS], T.opened)
T.open = T.open + 1
save_totals()
return T.opened
