-- Have transitions told for a while.
--
-- KEYS[1]  the shard      ARGV[1]  for how many ms from now

local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'monitor', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]))
return 1
