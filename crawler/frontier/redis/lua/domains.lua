-- include shard
-- Tell the registrable domains of hosts (rule 16).
--
-- ARGV[3…]  a host and its domain each

for i = 3, #ARGV, 2 do
    extended(host_made(ARGV[i]))[X.DOMAIN] = ARGV[i + 1]
end
save()
return 1
