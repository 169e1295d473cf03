-- include shard moves clock
-- End leases with their outcomes.
--
-- ARGV[3]  MessagePack: a {serial as text, request_id, kind, reason, detail, delay_ms, host_blamed, bytes, items, fetched} each;
--          kind: 0 done, 1 retry, 2 bury; host_blamed, fetched: 0 or 1
-- Returns {MessagePack: the positions, from 0, of those that were no longer current and changed nothing (rule 2), how
-- many of them all were done}: the rest, when requests of CALL_BYTES_MAX were moved, is for another call.

local S_SERIAL, S_REQUEST_ID, KIND, REASON, DETAIL, S_DELAY_MS, BLAMED, BYTES, ITEMS, ASKED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local DONE_KIND, RETRY_KIND = 0, 1

local blame, well
do -- a script may have 200 locals at a time
local FAILURES_MAX, BACKOFF_S, BACKOFF_MAX_S = 8, 9, 10

local function backoff_ms(failures)
    local seconds = min(R[BACKOFF_MAX_S], R[BACKOFF_S] * 2 ^ min(failures - 1, 60))
    return math.ceil(floor(seconds * 1000000 + 0.5) / 1000)
end

-- Rule 15, as in crawler/frontier/host.py.
local SLOW_MAX, WELL_MAX = 6, 10
local OVERLOADED = {http_429 = true, http_503 = true, robots_http_429 = true, robots_http_503 = true}

function blame(host, lease, delay_ms, reason)
    -- One host failure, unless the lease was given before the last one was counted (rule 9).
    local pause_ms = delay_ms
    if lease[STEP] >= host[STEPS] then
        host[STEPS], host[FAILURES] = host[STEPS] + 1, host[FAILURES] + 1
        pause_ms = max(pause_ms, backoff_ms(host[FAILURES]))
        if R[FAILURES_MAX] > 0 and host[FAILURES] >= R[FAILURES_MAX] then host[DOWN] = 1 end
        if host[X.WELL] then host[X.WELL] = 0 end
        if OVERLOADED[reason] then
            extended(host)[X.SLOW] = min(SLOW_MAX, (host[X.SLOW] or 0) + 1)
            leave_alone(host, 1)
        end
    end
    host[PAUSED_MS] = max(host[PAUSED_MS], now + pause_ms)
end

function well(host, retried, asked)
    -- It answered (rules 9 and 15).
    host[FAILURES] = 0
    if (host[X.SLOW] or 0) == 0 then return end
    if retried then
        host[X.WELL] = 0
    elseif asked then
        host[X.WELL] = host[X.WELL] + 1
        if host[X.WELL] == WELL_MAX then host[X.SLOW], host[X.WELL] = host[X.SLOW] - 1, 0 end
    end
end
end

local moved = 0

local function settle_page(serial, lease, host, one)
    local reason, worker_name = one[REASON], lease[WORKER]
    if one[KIND] == DONE_KIND then
        host[DONE], T.done = host[DONE] + 1, T.done + 1
        T.items, T.bytes = T.items + one[ITEMS], T.bytes + one[BYTES]
        if reason == '' then T.pages = T.pages + 1 else count_reason('done:' .. reason) end
        if watched then tell('done', entry_under(serial, lease), worker_name, reason) end
        return
    end
    local entry = entry_under(serial, lease)
    moved = moved + #entry[PAYLOAD]
    if one[KIND] == RETRY_KIND then
        T.retries = T.retries + 1
        count_reason('retry:' .. reason)
        tell('retry', entry, worker_name, reason)
        if one[BLAMED] == 0 then entry[ATTEMPTS] = entry[ATTEMPTS] + 1 end
        if one[BLAMED] == 0 and one[S_DELAY_MS] > 0 then
            delay_until(entry, now + one[S_DELAY_MS])
        else
            come_back(entry)
        end
    else
        bury(entry, reason, one[DETAIL])
    end
end

set_back()
local batch = decode(ARGV[3])
local serials = {}
for i, one in ipairs(batch) do serials[i] = one[S_SERIAL] end
local leases = leases_of(serials)
local stale, count = {}, 0
for i, one in ipairs(batch) do
    if moved >= CALL_BYTES_MAX then break end
    count = i
    local serial = one[S_SERIAL]
    local lease = leases[serial]
    if not lease or not owns(one[S_REQUEST_ID], serial) then
        stale[#stale + 1] = i - 1
    else
        leases[serial] = nil
        local host, worker = take(serial, lease)
        if one[KIND] ~= RETRY_KIND and one[ASKED] == 0 and lease[FETCHED] == 0 then
            host[IN_FLIGHT] = max(0, host[IN_FLIGHT] - 1)
        elseif lease[FETCHED] == 0 then
            fetch_ended(host)
        end
        if one[KIND] == RETRY_KIND and one[BLAMED] == 1 then
            blame(host, lease, one[S_DELAY_MS], one[REASON])
        elseif lease[STEP] >= host[STEPS] then
            well(host, one[KIND] == RETRY_KIND, one[ASKED] == 1 or lease[FETCHED] == 1)
        end
        if lease[PAGE] == 1 then
            worker[W_PAGES] = worker[W_PAGES] + 1
            settle_page(serial, lease, host, one)
        elseif one[KIND] == RETRY_KIND then
            host[PAUSED_MS] = max(host[PAUSED_MS], now + one[S_DELAY_MS])
        end
    end
end
save_all()
return {encode(stale), count}
