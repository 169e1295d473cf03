-- include shard
-- Set what is given of a host, which is made if need be.
--
-- ARGV[3]  the host      ARGV[4]  its own delay: ms + 1, 0 for none, or -1      ARGV[5]  a pause from now in ms, or -1
-- ARGV[6]  its own cap of requests in flight: that + 1, 0 for none, or -1
-- ARGV[7]  origin (0 to 3), or -1: else come ARGV[8] its name, ARGV[9] expires in ms from now, ARGV[10] expires_s as
--          given, ARGV[11] the text of its robots.txt, ARGV[12] the delay in ms that it asks for

local name, own_delay, pause_ms, own_width = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local origin = tonumber(ARGV[7])
local host = host_made(name)
if own_delay >= 0 then host[OWN_DELAY] = own_delay end
if own_width > 0 or (own_width == 0 and host[X.OWN_WIDTH]) then extended(host)[X.OWN_WIDTH] = own_width end
if pause_ms >= 0 then host[PAUSED_MS] = pause_ms > 0 and now + pause_ms or 0 end
if origin >= 0 then
    local at, asked = STAMPS + 2 * origin, tonumber(ARGV[12])
    for other = 0, 3 do
        if other ~= origin and host[STAMPS + 2 * other] > wall then asked = max(asked, host[X.CRAWL_DELAY] or 0) end
    end
    if asked > 0 or host[X.CRAWL_DELAY] then extended(host)[X.CRAWL_DELAY] = asked end
    host[at], host[at + 1] = wall + tonumber(ARGV[9]), max(wall, 1, host[at + 1] + 1)
    call('HSET', P .. 'robots', ARGV[8], encode({ARGV[10], host[at], host[at + 1], ARGV[11]}))
end
save()
return 1
