-- Change the crawl's record, if it is still the one that was read.
--
-- KEYS[1]  shard 0      ARGV[1]  the record as read      ARGV[2]  the new one
-- Returns 1, or 0 when somebody else changed it meanwhile.

if redis.call('HGET', KEYS[1], 'record') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'record', ARGV[2])
return 1
