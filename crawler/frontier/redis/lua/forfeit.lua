-- include shard moves
-- A worker is dead: end its leases, at most REAP_MAX a call, and its producers (names starting `worker/`).
--
-- ARGV[3]  the worker
-- Returns {leases ended, producers lost}: to be called again while the first is REAP_MAX.

local name = ARGV[3]
local leases = forfeit_held(name, REAP_MAX)
if T.drain_worker == name then T.drain_worker, T.drain_request, T.drain_host = '', 0, '' end
local producers = 0
for _, serial in ipairs(call('ZRANGE', P .. 'producer_expiry', 0, REAP_MAX - 1)) do
    local producer = decode(call('HGET', P .. 'producers', serial))
    if producer[1]:sub(1, #name + 1) == name .. '/' then
        call('ZREM', P .. 'producer_expiry', serial)
        call('HSET', P .. 'producers', serial, encode({producer[1], 'lost'}))
        T.open, T.lost, producers = T.open - 1, T.lost + 1, producers + 1
    end
end
save_all()
return {leases, producers}
