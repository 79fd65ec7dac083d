// What the feed does inside Redis, each in one atomic step. KEYS[1] is what all keys begin with: it has one hash tag, so
// that a Redis Cluster keeps them in one slot and sends the scripts there. Payloads are strings that Lua never decodes: its numbers would round an epoch.
//
//   {sshoal}:live:lives     zset  slave → end of its life, ms       {sshoal}:live:tunnels:<slave>  hash  holder → tunnel
//   {sshoal}:live:links     hash  slave → "<since> <link>"          {sshoal}:live:slots:<slave>    zset  slots by their end
//   {sshoal}:live:facts     hash  slave → facts                     {sshoal}:live:stream           stream of changes
//   {sshoal}:live:status    hash  slave → status                    {sshoal}:live:seq              number of the last entry
//   {sshoal}:live:synced    hash  slave → link that has said all    {sshoal}:live:renewed          when somebody renewed last, ms
//   {sshoal}:live:masters   zset  master → end of its life, ms      {sshoal}:live:quiet            until when nothing is swept, ms
//   {sshoal}:live:infos     hash  master → what it shows
// All of it is ephemeral: a master says again what it holds when Redis comes back without.
import { redisScript } from '../../store/redis-scripts.ts'

export const LIFE_MS = 10_000
/** Masters renew every 2 s; a slave that nobody renewed for so long gets no more devices. */
const SILENT_MS = 5_000
/** After a while in which nobody renewed anything (Redis or everybody was away) all get the time to say what they hold. */
const QUIET_MS = LIFE_MS + 2_000
/** How far back the stream reaches; who missed more reads the whole. */
const STREAM_MS = 30_000
const STREAM_ENTRIES = 20_000

const COMMON = `
local P = KEYS[1]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function tell(master, changes)
  if #changes == 0 then return end
  local seq = redis.call('INCR', P .. 'seq')
  redis.call('XADD', P .. 'stream', 'MINID', '~', now - ${STREAM_MS}, '*', 'm', master, 's', seq, 'c', '[' .. table.concat(changes, ',') .. ']')
  if seq % 1000 == 0 then redis.call('XTRIM', P .. 'stream', 'MAXLEN', '~', ${STREAM_ENTRIES}) end
end
local function current(slave)
  local value = redis.call('HGET', P .. 'links', slave)
  if not value then return nil, nil end
  local space = string.find(value, ' ', 1, true)
  return tonumber(string.sub(value, 1, space - 1)), string.sub(value, space + 1)
end
local function forget(slave)
  redis.call('UNLINK', P .. 'tunnels:' .. slave, P .. 'slots:' .. slave)
  redis.call('HDEL', P .. 'links', slave)
  redis.call('HDEL', P .. 'synced', slave)
  redis.call('HDEL', P .. 'facts', slave)
  redis.call('HDEL', P .. 'status', slave)
  redis.call('ZREM', P .. 'lives', slave)
end
`

/**
 * ARGV: master, then per change: type, slave, link, field, json, data. A tunnel's data begins with its epoch and a space.
 * Answers the slaves whose link is not known at all.
 */
export const APPLY = redisScript(`${COMMON}
local accepted, unknown = {}, {}
for i = 2, #ARGV, 6 do
  local kind, slave, link, field, json, data = ARGV[i], ARGV[i+1], ARGV[i+2], ARGV[i+3], ARGV[i+4], ARGV[i+5]
  local good = true
  if slave ~= '' then
    local since, speaker = current(slave)
    if kind == 'joining' then
      good = not since or tonumber(field) >= since
      if good then
        redis.call('HSET', P .. 'links', slave, field .. ' ' .. link)
        redis.call('HSET', P .. 'facts', slave, data)
        redis.call('HDEL', P .. 'synced', slave)
        redis.call('UNLINK', P .. 'tunnels:' .. slave)
        redis.call('ZADD', P .. 'lives', now + ${LIFE_MS}, slave)
      end
    elseif speaker ~= link then
      good = false
      if not speaker then unknown[#unknown + 1] = slave end
    elseif kind == 'up' or kind == 'arrived' or kind == 'changed' then
      redis.call('HSET', P .. 'tunnels:' .. slave, field, data)
      if kind == 'arrived' then
        redis.call('ZREMRANGEBYSCORE', P .. 'slots:' .. slave, '-inf', now)
        redis.call('ZPOPMIN', P .. 'slots:' .. slave)
      end
    elseif kind == 'down' then
      local stands = redis.call('HGET', P .. 'tunnels:' .. slave, field)
      if stands and string.match(stands, '^%d+') == data then redis.call('HDEL', P .. 'tunnels:' .. slave, field) end
    elseif kind == 'synced' then
      redis.call('HSET', P .. 'synced', slave, link)
    elseif kind == 'state' then
      redis.call('HSET', P .. 'facts', slave, data)
    elseif kind == 'status' then
      redis.call('HSET', P .. 'status', slave, data)
    elseif kind == 'gone' then
      forget(slave)
    end
  end
  if good then accepted[#accepted + 1] = json end
end
tell(ARGV[1], accepted)
return unknown
`)

/**
 * ARGV: master, its info, then per slave linked here: slave, link. Renews their lives, drops what is over; but not in the
 * first seconds after nobody renewed anything, as when Redis stood still: then all lives are over and nobody is dead.
 * Answers [seconds, microseconds, infos of the living masters, slaves whose record is gone, slaves that are another
 * master's by now, slaves that were not renewed lately].
 */
export const RENEW = redisScript(`${COMMON}
local renewed = tonumber(redis.call('GET', P .. 'renewed') or 0)
if math.abs(now - renewed) > ${SILENT_MS} then redis.call('SET', P .. 'quiet', now + ${QUIET_MS}) end
redis.call('SET', P .. 'renewed', now)
redis.call('ZADD', P .. 'masters', now + ${LIFE_MS}, ARGV[1])
redis.call('HSET', P .. 'infos', ARGV[1], ARGV[2])
local missing, others, silent = {}, {}, {}
for i = 3, #ARGV, 2 do
  local since, speaker = current(ARGV[i])
  if speaker == ARGV[i+1] then redis.call('ZADD', P .. 'lives', now + ${LIFE_MS}, ARGV[i])
  elseif speaker then others[#others + 1] = ARGV[i]
  else missing[#missing + 1] = ARGV[i] end
end
if now > tonumber(redis.call('GET', P .. 'quiet') or 0) then
  local gone = {}
  for _, slave in ipairs(redis.call('ZRANGEBYSCORE', P .. 'lives', '-inf', now)) do
    local since, link = current(slave)
    gone[#gone + 1] = cjson.encode({ type = 'gone', slave = slave, link = link or '', reason = 'its master and it fell silent' })
    forget(slave)
  end
  tell('', gone)
  for _, master in ipairs(redis.call('ZRANGEBYSCORE', P .. 'masters', '-inf', now)) do
    redis.call('ZREM', P .. 'masters', master)
    redis.call('HDEL', P .. 'infos', master)
  end
  silent = redis.call('ZRANGEBYSCORE', P .. 'lives', '-inf', now + ${LIFE_MS - SILENT_MS})
end
local infos = {}
for _, master in ipairs(redis.call('ZRANGEBYSCORE', P .. 'masters', '(' .. now, '+inf')) do
  infos[#infos + 1] = redis.call('HGET', P .. 'infos', master) or ''
end
return { t[1], t[2], infos, missing, others, silent }
`)

/**
 * ARGV: master, deadline in ms, slot ms, a random word, then per wish: how many slots, how many candidates, and per
 * candidate id, tunnels, capacity (ordered by id). The same rule as select-slave.ts. Answers the chosen ids, wish after
 * wish; none when it is too late: who asked has chosen by himself.
 */
export const RESERVE = redisScript(`${COMMON}
if now > tonumber(ARGV[2]) then return {} end
local chosen, held, words, i = {}, {}, {}, 5
while i <= #ARGV do
  local wanted, count = tonumber(ARGV[i]), tonumber(ARGV[i+1])
  i = i + 2
  local ids, tunnels, capacity, shares, counts = {}, {}, {}, {}, {}
  for c = 1, count do
    local id = ARGV[i]
    ids[c], tunnels[c], capacity[c] = id, tonumber(ARGV[i+1]), tonumber(ARGV[i+2])
    i = i + 3
    held[id] = held[id] or redis.call('ZCOUNT', P .. 'slots:' .. id, '(' .. now, '+inf')
    counts[c] = held[id]
    shares[c] = (tunnels[c] + held[id]) / capacity[c]
  end
  for n = 1, wanted do
    local best, share, few = 1, shares[1], counts[1]
    for c = 2, count do
      local mine = shares[c]
      if mine < share or (mine == share and counts[c] < few) then best, share, few = c, mine, counts[c] end
    end
    local id = ids[best]
    held[id] = few + 1
    counts[best] = few + 1
    shares[best] = (tunnels[best] + few + 1) / capacity[best]
    chosen[#chosen + 1] = id
    local mine = words[id] or {}
    words[id] = mine
    mine[#mine + 1] = now + tonumber(ARGV[3])
    mine[#mine + 1] = ARGV[4] .. #chosen
  end
end
for id, mine in pairs(words) do
  local key = P .. 'slots:' .. id
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZADD', key, unpack(mine))
  redis.call('PEXPIRE', key, ARGV[3])
end
if #chosen > 0 then tell(ARGV[1], { cjson.encode({ type = 'slots', slaves = chosen }) }) end
return chosen
`)

/** Where the stream stands: [id of its last entry, its number]. */
export const POSITION = redisScript(`
local last = redis.call('XREVRANGE', KEYS[1] .. 'stream', '+', '-', 'COUNT', 1)[1]
return { last and last[1] or '0-0', redis.call('GET', KEYS[1] .. 'seq') or '0' }
`)
