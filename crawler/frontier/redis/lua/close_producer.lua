-- include shard
-- No more from this producer.
--
-- ARGV[3]  its number
-- Returns 1, or 0 when it was no longer current.

if call('ZREM', P .. 'producer_expiry', ARGV[3]) == 0 then return 0 end
call('HSET', P .. 'producers', ARGV[3], encode({producer_of(ARGV[3])[1], 'closed'}))
T.open, T.closed = T.open - 1, T.closed + 1
save_totals()
call('PUBLISH', KEYS[1], '')
return 1
