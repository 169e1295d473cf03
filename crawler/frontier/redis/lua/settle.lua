-- include shard moves
-- End leases with their outcomes.
--
-- ARGV[3]  MessagePack: a {serial as text, request_id, kind, reason, detail, delay_ms, host_blamed, bytes, items, fetched} each;
--          kind: 0 done, 1 retry, 2 bury; host_blamed, fetched: 0 or 1
-- Returns MessagePack: the positions, from 0, of those that were no longer current and changed nothing (rule 2).

local S_SERIAL, S_REQUEST_ID, KIND, REASON, DETAIL, S_DELAY_MS, BLAMED, BYTES, ITEMS, ASKED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local DONE_KIND, RETRY_KIND = 0, 1

local function backoff_ms(failures)
    local seconds = min(R[BACKOFF_MAX_S], R[BACKOFF_S] * 2 ^ min(failures - 1, 60))
    return math.ceil(floor(seconds * 1000000 + 0.5) / 1000)
end

local function blame(host, lease, delay_ms)
    -- One host failure, unless the lease was given before the last one was counted (rule 9).
    local pause_ms = delay_ms
    if lease[STEP] >= host[STEPS] then
        host[STEPS], host[FAILURES] = host[STEPS] + 1, host[FAILURES] + 1
        pause_ms = max(pause_ms, backoff_ms(host[FAILURES]))
        if R[FAILURES_MAX] > 0 and host[FAILURES] >= R[FAILURES_MAX] then host[DOWN] = 1 end
    end
    host[PAUSED_MS] = max(host[PAUSED_MS], now + pause_ms)
end

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

local batch = decode(ARGV[3])
local serials = {}
for i, one in ipairs(batch) do serials[i] = one[S_SERIAL] end
local leases = leases_of(serials)
local stale = {}
for i, one in ipairs(batch) do
    local serial = one[S_SERIAL]
    local lease = leases[serial]
    if not lease or not owns(one[S_REQUEST_ID], serial) then
        stale[#stale + 1] = i - 1
    else
        leases[serial] = nil
        local host, worker = take(serial, lease)
        if one[KIND] == DONE_KIND and one[ASKED] == 0 and lease[FETCHED] == 0 then
            host[IN_FLIGHT] = max(0, host[IN_FLIGHT] - 1)
        elseif lease[FETCHED] == 0 then
            fetch_ended(host)
        end
        if one[KIND] == RETRY_KIND and one[BLAMED] == 1 then
            blame(host, lease, one[S_DELAY_MS])
        elseif lease[STEP] >= host[STEPS] then
            host[FAILURES] = 0
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
return encode(stale)
