-- What a call tells about the store's clock (rule 6).

local FORGET_MAX = 200
local NOTES = 16 -- the time somebody asked is noted to so small a part of a lease, so that idle workers need not write

local function stale(noted_ms)
    local age = wall - noted_ms
    return age < 0 or age >= max(1, floor(R[LEASE_MS] / NOTES))
end

local function forget_batches()
    -- The request_ids that nobody can repeat any more; what is left when there are many is for the next call.
    local old = call('ZRANGEBYSCORE', P .. 'given', '-inf', wall - 2 * R[LEASE_MS] - 1, 'LIMIT', 0, FORGET_MAX)
    if #old == 0 then old = call('ZRANGEBYSCORE', P .. 'given', '(' .. wall, '+inf', 'LIMIT', 0, FORGET_MAX) end
    local gone = 0
    for _, id in ipairs(old) do
        local first, last = string.match(call('HGET', P .. 'batches', id) or '0,0', '(%d+),(%d+)')
        local serials = {}
        for serial = tonumber(first), tonumber(last) do serials[#serials + 1] = serial end
        local current = false
        for _, lease in ipairs(call('HMGET', P .. 'leases', unpack(serials))) do current = current or lease end
        if not current then
            call('ZREM', P .. 'given', id)
            call('HDEL', P .. 'batches', id)
            gone = gone + 1
        end
    end
    T.forgetting = (#old == FORGET_MAX and gone > 0) and 1 or 0
end

local function look_at_clock()
    -- Rule 6. A clock that was set back goes on from where it was.
    if T.asked_ms - wall > floor(R[LEASE_MS] / 2) then
        skew = skew + T.asked_ms - wall
        now = wall + skew
        call('HSET', KEYS[1], 'skew', skew)
        T.grace_ms = now + R[LEASE_MS]
    elseif wall - T.asked_ms > floor(R[LEASE_MS] / 2) then
        T.grace_ms = now + R[LEASE_MS]
    elseif not stale(T.asked_ms) then
        if T.forgetting == 1 then forget_batches() end
        return
    end
    T.asked_ms = wall
    forget_batches()
end
