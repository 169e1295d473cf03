-- include shard
-- Forget everything but the record: a new generation begins with empty keys, the old ones are removed afterwards, in
-- pieces. Serials go on, so that old tokens stay stale.

local kept = {serial = T.serial, opened = T.opened, number = T.number}
for _, field in ipairs(FIELDS) do T[field] = kept[field] or 0 end
T.drain_worker, T.drain_host = '', ''
save_totals()
return call('HINCRBY', KEYS[1], 'generation', 1)
