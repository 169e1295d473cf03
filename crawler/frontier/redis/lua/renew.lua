-- include shard moves clock
-- Extend leases and producers to a full lease from now.
--
-- ARGV[3]  MessagePack: a {serial as text, request_id} each; request_id 'producer': the serial is a producer's
-- Returns {MessagePack: the positions, from 0, of those that are lost, how many there were}.

look_at_clock()
local batch = decode(ARGV[3])
local serials = {}
for i, one in ipairs(batch) do serials[i] = one[1] end
local leases, longer, lost = leases_of(serials), {}, {}
for i, one in ipairs(batch) do
    local serial, id = one[1], one[2]
    if id == 'producer' then
        if call('ZADD', P .. 'producer_expiry', 'XX', 'CH', now + R[LEASE_MS], serial) == 0
            and not call('ZSCORE', P .. 'producer_expiry', serial) then
            lost[#lost + 1] = i - 1
        end
    elseif leases[serial] and owns(id, serial) then
        longer[#longer + 1] = text_of(now + R[LEASE_MS])
        longer[#longer + 1] = expiry_member(serial, leases[serial][L_HOST])
    else
        lost[#lost + 1] = i - 1
    end
end
if #longer > 0 then call('ZADD', P .. 'expiry', unpack(longer)) end
save_totals()
return {encode(lost), #batch}
