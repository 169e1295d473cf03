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
        local first, last = range_of(call('HGET', P .. 'batches', id))
        local serials = {}
        for serial = first, last do serials[#serials + 1] = serial end
        local current = false
        if #serials > 0 then
            for _, lease in ipairs(call('HMGET', P .. 'leases', unpack(serials))) do current = current or lease end
        end
        if not current then
            call('ZREM', P .. 'given', id)
            call('HDEL', P .. 'batches', id)
            gone = gone + 1
        end
    end
    T.forgetting = (#old == FORGET_MAX and gone > 0) and 1 or 0
end

local function set_back()
    -- Rule 6. A clock that was set back by more than half a lease goes on from where it was. Smaller steps are not told
    -- from two servers' clocks at a failover: waits become longer by them, and by their sum when there are many.
    if T.asked_ms - wall <= floor(R[LEASE_MS] / 2) then return false end
    skew = skew + T.asked_ms - wall
    now = wall + skew
    call('HSET', KEYS[1], 'skew', skew)
    T.grace_ms, T.asked_ms = now + R[LEASE_MS], wall
    return true
end

local function let_lapse()
    -- Somebody took away when leases lapse: from now on they have as long as new ones. Cost: in proportion to them.
    local serials = call('HKEYS', P .. 'leases')
    for first = 1, #serials, LEASE_MAX do
        local some, rows = {unpack(serials, first, min(#serials, first + LEASE_MAX - 1))}, {}
        for serial, lease in pairs(leases_of(some)) do
            rows[#rows + 1] = text_of(now + R[LEASE_MS])
            rows[#rows + 1] = expiry_member(serial, lease[L_HOST])
        end
        if #rows > 0 then call('ZADD', P .. 'expiry', unpack(rows)) end
    end
end

local function look_at_clock()
    if set_back() then
        forget_batches()
        return
    elseif wall - T.asked_ms > floor(R[LEASE_MS] / 2) then
        T.grace_ms = now + R[LEASE_MS]
    elseif not stale(T.asked_ms) then
        if T.forgetting == 1 then forget_batches() end
        return
    end
    T.asked_ms = wall
    forget_batches()
    if T.open > 0 and call('EXISTS', P .. 'producer_expiry') == 0 then T.open, T.lost = 0, T.lost + T.open end
    if T.leased > 0 and call('EXISTS', P .. 'expiry') == 0 then let_lapse() end
end
