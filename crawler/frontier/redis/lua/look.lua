-- include shard
-- The shard in numbers, without changing anything.
--
-- Returns {totals, reasons as name, count, …, oldest_ms, due_ms}: ms, '' where there is none.

local member, ready = first_ready()
local delayed = tonumber(call('ZRANGE', P .. 'delayed', 0, 0, 'WITHSCORES')[2])
local due = ready and delayed and min(ready, delayed) or ready or delayed
-- Somebody may have put something into a queue, where it was not counted: nothing is over while a host has something.
if ready and T.ready == 0 then T.ready = call('HEXISTS', P .. 'hosts', member:sub(5)) end
local values = {}
for i, field in ipairs(FIELDS) do values[i] = T[field] end
return {encode(values), call('HGETALL', P .. 'reasons'), ready and string.format('%.0f', max(0, now - ready)) or '',
    due and due < math.huge and string.format('%.0f', max(0, due - now)) or ''}
