-- include shard moves clock
-- Give leases back unstarted: to the old place, nothing charged; the host is free at once unless it was fetched.
--
-- ARGV[3]  MessagePack: a {serial as text, request_id} each
-- Returns how many of them were done: the rest, when requests of CALL_BYTES_MAX were moved, is for another call.

set_back()
local batch = decode(ARGV[3])
local serials = {}
for i, one in ipairs(batch) do serials[i] = one[1] end
local leases = leases_of(serials)
local moved, count = 0, 0
for i, one in ipairs(batch) do
    if moved >= CALL_BYTES_MAX then break end
    count = i
    local lease = leases[one[1]]
    if lease and owns(one[2], one[1]) then
        leases[one[1]] = nil
        local host = take(one[1], lease)
        if lease[FETCHED] == 0 then host[IN_FLIGHT] = max(0, host[IN_FLIGHT] - 1) end
        if lease[PAGE] == 1 then
            local entry = entry_under(one[1], lease)
            moved = moved + #entry[PAYLOAD]
            tell('released', entry, lease[WORKER])
            if lease[ALONE] == 1 then suspect(entry, lease[SINCE_MS]) else come_back(entry) end
        end
    end
end
save_all()
return count
