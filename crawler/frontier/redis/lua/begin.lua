-- Make a shard of a crawl if there is none.
--
-- KEYS[1]  the shard      ARGV[1]  schema      ARGV[2]  the crawl's record as JSON, kept by shard 0 only, or ''
-- Returns {schema, record, whole} as they are now; for a key that is not a crawl's
-- {'none (somebody else\'s TYPE)', '', ''}. whole: '1' once all shards were made.

local call = redis.call
local kind = call('TYPE', KEYS[1]).ok
if kind ~= 'none' and (kind ~= 'hash' or call('HEXISTS', KEYS[1], 'schema') == 0) then
    return {'none (somebody else\'s ' .. kind .. ')', '', ''}
end
if call('HSETNX', KEYS[1], 'schema', ARGV[1]) == 1 then
    call('HSET', KEYS[1], 'generation', 1, 'paused', 0, 'skew', 0)
end
if ARGV[2] ~= '' then call('HSETNX', KEYS[1], 'record', ARGV[2]) end
return {call('HGET', KEYS[1], 'schema'), call('HGET', KEYS[1], 'record') or '', call('HGET', KEYS[1], 'whole') or ''}
