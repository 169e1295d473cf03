-- include shard moves
-- A worker is dead: end its leases, at most REAP_MAX a call, and its producers (names starting `worker/`).
--
-- ARGV[3]  the worker
-- Returns {leases ended, producers lost, more}: to be called again while more is 1.

local name = ARGV[3]
local leases, more = forfeit_held(name, REAP_MAX)
if T.drain_worker == name then T.drain_worker, T.drain_request, T.drain_host = '', 0, '' end
local producers = 0
for _, serial in ipairs(call('ZRANGE', P .. 'producer_expiry', 0, REAP_MAX - 1)) do
    local producer = producer_of(serial)
    if producer[1]:sub(1, #name + 1) == name .. '/' then
        lose_producer(serial, producer[1])
        producers = producers + 1
    end
end
save_all()
return {leases, producers, more}
