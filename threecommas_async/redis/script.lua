-- Apply the updates of one process, then grant the permits it requests. Times are seconds.
--
-- Keys: state (hash: when the data was created, end of the block), waiting (sorted set
-- "<priority>:<process>" by expiry), then one sorted set of permits by expiry per budget. Budget 1 is
-- the general one; a request without a limit of its own names 1 as its own budget, too.
-- Priorities: 0 close, 1 read.
--
-- Message:
--   me        id of the process; the names of its permits begin with it
--   budgets   limit, window, and room: slots that the process's own records still allow it
--   reserve   slots of budget 1 that only closes may take
--   lease     seconds to keep a permit, beyond its window, while its request is in flight
--   silence   seconds to block after data was lost
--   patience  seconds after which a waiting process is forgotten unless it calls again
--   grace     seconds during which a freed slot is divided among the waiting processes
--   ttl       seconds after which unused keys expire
--   born      when the data was created, as the process knows it; "" if it does not
--   block     seconds for which nothing may be sent
--   permits   {name, own budget, seconds to keep it beyond its window; negative: delete it}
--   wants     {priority, own budget, name} of every permit requested, closes first
local q = cjson.decode(ARGV[1])
local state, waiting = KEYS[1], KEYS[2]
local function permits(budget) return KEYS[budget + 2] end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

-- Apply the updates.
local function keep(name, own, longer)
  for _, b in ipairs({1, own}) do
    redis.call('ZADD', permits(b), now + longer + q.budgets[b].window, name)
  end
end
for _, permit in ipairs(q.permits) do
  local name, own, longer = unpack(permit)
  if longer >= 0 then
    keep(name, own, longer)
  else
    redis.call('ZREM', permits(1), name)
    redis.call('ZREM', permits(own), name)
  end
end
local born, blocked = unpack(redis.call('HMGET', state, 'born', 'blocked'))
born = born or string.format('%d.%06d', time[1], time[2])
blocked = math.max(tonumber(blocked or 0), now + q.block)
if q.born ~= '' and q.born ~= born then -- the data that the process knew is lost
  blocked = math.max(blocked, tonumber(born) + q.silence)
end
redis.call('HSET', state, 'born', born, 'blocked', blocked)

-- Count the free slots, those of this process, and the other waiting processes.
local free, rests, mine, freed = {}, {}, 0, false
for b, budget in ipairs(q.budgets) do
  redis.call('ZREMRANGEBYSCORE', permits(b), '-inf', now - q.grace)
  local entries = redis.call('ZRANGE', permits(b), 0, -1, 'WITHSCORES')
  rests[b] = {}
  for i = 1, #entries, 2 do
    local rest = entries[i + 1] - now
    if rest > 0 then
      table.insert(rests[b], rest)
      if b == 1 and entries[i]:sub(1, #q.me) == q.me then mine = mine + 1 end
    elseif b == 1 then
      freed = true
    end
  end
  -- The process's own records hold even if this clock has stepped forward.
  free[b] = math.min(budget.limit - #rests[b], budget.room)
end
redis.call('ZREMRANGEBYSCORE', waiting, '-inf', now)
local others = {[0] = 0, [1] = 0}
for _, name in ipairs(redis.call('ZRANGE', waiting, 0, -1)) do
  local p = tonumber(name:sub(1, 1))
  if name:sub(3) ~= q.me then others[p] = others[p] + 1 end
end

-- Grant permits. Within the grace after a slot came free, the process gets no more than an equal
-- part of the slots, so that the other waiting processes can fetch theirs.
local reserved, quota, unserved = {[0] = 0, [1] = q.reserve}, {}, {[0] = 0, [1] = 0}
local granted, deferred = {}, false
for p = 0, 1 do
  quota[p] = free[1] - reserved[p]
  if freed and others[p] > 0 then
    quota[p] = math.ceil((q.budgets[1].limit - reserved[p]) / (others[p] + 1)) - mine
  end
end
for i, want in ipairs(q.wants) do
  local p, own, name = unpack(want)
  -- Granted by an earlier call whose reply was lost.
  local has = tonumber(redis.call('ZSCORE', permits(1), name) or 0) > now
  local room = free[1] > reserved[p] and free[own] > 0
  local allowed = quota[p] > 0 and (p == 0 or others[0] == 0)
  if now >= blocked and (has or room and allowed) then
    keep(name, own, q.lease)
    granted[#granted + 1] = i
    if not has then
      free[1] = free[1] - 1
      if own > 1 then free[own] = free[own] - 1 end
      quota[0], quota[1] = quota[0] - 1, quota[1] - 1
      table.insert(rests[1], q.lease + q.budgets[1].window)
      if own > 1 then table.insert(rests[own], q.lease + q.budgets[own].window) end
    end
  elseif own == 1 or free[own] > 0 then -- waiting for its own budget must not hold up others
    deferred = deferred or room
    unserved[p] = unserved[p] + 1
  end
end
for p = 0, 1 do
  local name = p .. ':' .. q.me
  if unserved[p] > 0 then
    redis.call('ZADD', waiting, now + q.patience, name)
  else
    redis.call('ZREM', waiting, name)
  end
end

-- When asking again makes sense: a slot comes free, the block ends, or the grace is over.
local block, wait = math.max(blocked - now, 0), q.patience
for b in ipairs(q.budgets) do
  wait = math.min(wait, rests[b][1] or wait)
end
if block > 0 then
  wait = block
elseif deferred then
  wait = math.min(wait, q.grace)
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, math.ceil((q.ttl + block) * 1000)) end
return cjson.encode({
  born = born, block = block, wait = wait, granted = granted, rests = rests,
})
