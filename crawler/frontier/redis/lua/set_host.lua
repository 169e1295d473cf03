-- include shard
-- Set what is given of a host, which is made if need be.
--
-- ARGV[3]  the host      ARGV[4]  its own delay in ms, or -1      ARGV[5]  a pause from now in ms, or -1
-- ARGV[6]  origin (0 to 3), or -1: then come ARGV[7] its name, ARGV[8] expires in ms from now, ARGV[9] expires_s as
--          given, ARGV[10] the text of its robots.txt

local name, delay_ms, pause_ms, origin = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local host = host_made(name)
if delay_ms >= 0 then host[OWN_DELAY] = delay_ms + 1 end
if pause_ms >= 0 then host[PAUSED_MS] = pause_ms > 0 and now + pause_ms or 0 end
if origin >= 0 then
    local at = STAMPS + 2 * origin
    host[at], host[at + 1] = wall + tonumber(ARGV[8]), max(wall, 1, host[at + 1] + 1)
    call('HSET', P .. 'robots', ARGV[7], encode({ARGV[9], host[at], host[at + 1], ARGV[10]}))
end
save()
return 1
