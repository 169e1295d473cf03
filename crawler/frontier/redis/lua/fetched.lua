-- include shard moves clock
-- The fetches of these leases ended: their hosts' delays start now.
--
-- ARGV[3]  MessagePack: a {serial as text, request_id} each, and how long it took in ms where that is known
-- Returns how many.

set_back()
local batch = decode(ARGV[3])
local serials = {}
for i, one in ipairs(batch) do serials[i] = one[1] end
local leases, rows = leases_of(serials), {}
for _, one in ipairs(batch) do
    local lease = leases[one[1]]
    if lease and lease[FETCHED] == 0 and owns(one[2], one[1]) then
        lease[FETCHED] = 1
        fetch_ended(host_made(lease[L_HOST]), one[3])
        rows[#rows + 1] = one[1]
        rows[#rows + 1] = pack_lease(lease)
    end
end
if #rows > 0 then
    call('HSET', P .. 'leases', unpack(rows))
    save()
end
return #batch
