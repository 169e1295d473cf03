-- include shard
-- Robots records.
--
-- ARGV[3…]  origins
-- Returns {the time in ms, for each a record, or false}.

return {string.format('%.0f', wall), unpack(call('HMGET', P .. 'robots', unpack(ARGV, 3)))}
