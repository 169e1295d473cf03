-- Make a shard of a crawl if there is none.
--
-- KEYS[1]  the shard      ARGV[1]  schema      ARGV[2]  the crawl's record as JSON, kept by shard 0 only, or ''
-- Returns {schema, record} as they are now.

local call = redis.call
if call('HSETNX', KEYS[1], 'schema', ARGV[1]) == 1 then
    call('HSET', KEYS[1], 'generation', 1, 'paused', 0, 'skew', 0)
end
if ARGV[2] ~= '' then call('HSETNX', KEYS[1], 'record', ARGV[2]) end
return {call('HGET', KEYS[1], 'schema'), call('HGET', KEYS[1], 'record') or ''}
