"""What the server does in one step: Lua scripts. The first argument of each is the prefix of all keys.

    claim:KEY                a hash: the packed claim, its connection, its record
    record:CONNECTION:ID     the key of the claim that stands for this record
    open, open:CONNECTION    keys of claims neither done nor absent, by when their turn comes
    unknown, settled         keys of claims that are unknown, or were, by when they came to their word
    over                     keys of claims that are done or absent, by when they are forgotten
    clock                    the latest time that a claim was changed, in microseconds: time never goes back before it
    version:SLOT             how often names of that slot were bumped; version: alone is the number that versions start from
    budget:PER:NAME          a hash: the window, calls granted in it, and the most that the provider said it grants
    circuit:NAME             until when it is open
    mark:SLOT                when a name of that slot was marked last

Nothing expires by the server's own clock: what has a time to live is the first to go when memory is short.
"""

_CLOCK = """
local p = ARGV[1]
local function clock()
  local time = redis.call('TIME')
  return math.max(time[1] * 1000000 + time[2], tonumber(redis.call('GET', p .. 'clock') or '0'))
end
"""

READ = (
    _CLOCK
    + """
return {clock(), redis.call('HGET', p .. 'claim:' .. ARGV[2], 'claim')}
"""
)

TOUCH = (
    _CLOCK
    + """
redis.call('SET', p .. 'clock', string.format('%.0f', clock()))
return 1
"""
)

WRITTEN, CONFLICT, TAKEN = 1, 0, -1

WRITE = """
local p, key, expected, new, connection, record = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local since, turn, over, unknown, settled, micros, now, most = unpack(ARGV, 7, 14)
local function forget(key)
  local held = redis.call('HMGET', p .. 'claim:' .. key, 'connection', 'record')
  if held[1] then
    local reserved = p .. 'record:' .. held[1] .. ':' .. held[2]
    if held[2] ~= '' and redis.call('GET', reserved) == key then redis.call('DEL', reserved) end
    redis.call('ZREM', p .. 'open:' .. held[1], key)
    redis.call('DEL', p .. 'claim:' .. key)
  end
  for _, index in ipairs({'open', 'unknown', 'settled', 'over'}) do redis.call('ZREM', p .. index, key) end
end
if (redis.call('HGET', p .. 'claim:' .. key, 'claim') or '') ~= expected then return 0 end
if new ~= '' and record ~= '' then
  local other = redis.call('GET', p .. 'record:' .. connection .. ':' .. record)
  if other and other ~= key then
    local ends = redis.call('ZSCORE', p .. 'over', other)
    if not ends or tonumber(ends) > tonumber(now) then return -1 end
    forget(other)
  end
end
forget(key)
if new ~= '' then
  redis.call('HSET', p .. 'claim:' .. key, 'claim', new, 'connection', connection, 'record', record)
  if record ~= '' then redis.call('SET', p .. 'record:' .. connection .. ':' .. record, key) end
  if over == '' then
    redis.call('ZADD', p .. 'open', turn, key)
    redis.call('ZADD', p .. 'open:' .. connection, turn, key)
  else
    redis.call('ZADD', p .. 'over', over, key)
  end
  if unknown == '1' then redis.call('ZADD', p .. 'unknown', since, key) end
  if settled == '1' then redis.call('ZADD', p .. 'settled', since, key) end
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', p .. 'over', '-inf', now, 'LIMIT', 0, most)) do forget(gone) end
if tonumber(micros) > tonumber(redis.call('GET', p .. 'clock') or '0') then redis.call('SET', p .. 'clock', micros) end
return 1
"""

HOLDER = (
    _CLOCK
    + """
local key = redis.call('GET', p .. 'record:' .. ARGV[2] .. ':' .. ARGV[3])
if not key then return false end
local ends = redis.call('ZSCORE', p .. 'over', key)
if ends and tonumber(ends) <= clock() / 1000000 then return false end
return key
"""
)

OPEN = """
local p, claims = ARGV[1], {}
for _, key in ipairs(redis.call('ZRANGE', p .. ARGV[2], 0, -1)) do
  local claim = redis.call('HGET', p .. 'claim:' .. key, 'claim')
  if claim and string.find(claim, ARGV[3], 1, true) then claims[#claims + 1] = claim end
end
return claims
"""

DUE = (
    _CLOCK
    + """
local claims, each, of = {}, tonumber(ARGV[2]), {}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', p .. 'open', '-inf', string.format('%.17g', clock() / 1000000))) do
  local held = redis.call('HMGET', p .. 'claim:' .. key, 'connection', 'claim')
  if held[1] and held[2] then
    local kind = (redis.call('ZSCORE', p .. 'unknown', key) and '?' or '') .. held[1]
    of[kind] = (of[kind] or 0) + 1
    if of[kind] <= each then claims[#claims + 1] = {key, held[2]} end
  end
end
return claims
"""
)

UNKNOWN = "return redis.call('ZCARD', ARGV[1] .. 'unknown')"

OUTCOMES = (
    _CLOCK
    + """
local claims, limit, now = {}, tonumber(ARGV[2]), clock() / 1000000
local where, since, last = ARGV[3], ARGV[4], ARGV[5]
for _, index in ipairs({'unknown', 'settled'}) do
  local from, first = 0, '+inf'
  if index == where then first = since end
  while #claims < limit and not (index == 'unknown' and where == 'settled') do
    local keys = redis.call('ZREVRANGEBYSCORE', p .. index, first, '-inf', 'LIMIT', from, 100)
    if #keys == 0 then break end
    for _, key in ipairs(keys) do
      local ends, at = redis.call('ZSCORE', p .. 'over', key), redis.call('ZSCORE', p .. index, key)
      local told = index == where and key >= last and tonumber(at) == tonumber(since)
      if #claims < limit and not told and not (ends and tonumber(ends) <= now) then
        claims[#claims + 1] = {key, redis.call('HGET', p .. 'claim:' .. key, 'claim'), index, at}
      end
    end
    from = from + 100
  end
end
return claims
"""
)

BUMP = """
local p = ARGV[1]
if redis.call('EXISTS', p .. 'version:') == 0 then
  local time = redis.call('TIME')
  redis.call('SET', p .. 'version:', string.format('%.0f', time[1] * 1000000 + time[2]))
end
for name = 2, #ARGV do redis.call('INCR', p .. 'version:' .. ARGV[name]) end
return 1
"""

MARK = """
local mark = ARGV[1] .. 'mark:' .. ARGV[2]
local before = redis.call('GET', mark)
redis.call('SET', mark, ARGV[3])
return before
"""

BUDGET = """
local p, name, calls, per, what, number = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], tonumber(ARGV[6])
local time = redis.call('TIME')
local window = string.format('%.0f', math.floor((time[1] + time[2] / 1000000) / tonumber(per)))
local key = p .. 'budget:' .. per .. ':' .. name
local held = redis.call('HMGET', key, 'window', 'granted', 'limit')
local granted, limit = 0, calls
if held[1] == window then
  granted = tonumber(held[2])
  limit = math.min(calls, tonumber(held[3] or calls))
end
local left = limit - granted
local function write(field, value)
  if held[1] ~= window then
    redis.call('DEL', key)
    redis.call('HSET', key, 'window', window, 'granted', '0')
  end
  redis.call('HSET', key, field, string.format('%.0f', value))
end
if what == 'spend' then
  if left - 1 < number then return {-1, window} end
  write('granted', granted + 1)
  left = left - 1
elseif what == 'give back' and granted > 0 and string.format('%.0f', number) == window then
  write('granted', granted - 1)
  left = left + 1
elseif what == 'correct' and number < left then
  left = math.max(0, number)
  write('limit', granted + left)
end
return {math.max(0, left), window}
"""
