// What Redis runs for the store: each script is one atomic step that first looks whether this still is the store it was.
// Every write carries a deadline in Redis' own time: what was already reported as failed never happens later, when a
// Redis that stood still goes on. Answers are lists that begin with a word: ok, other, late, or the outcome.
import { createHash } from 'node:crypto'

export interface RedisScript {
  text: string
  sha: string
}

export function redisScript(text: string): RedisScript {
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

/** KEYS[1] is the meta hash; ARGV[1] the store's id, ARGV[2] the schema that this program reads and writes. */
const SAME_STORE = String.raw`
local at = redis.call('HMGET', KEYS[1], 'id', 'schema')
if at[1] ~= ARGV[1] or tonumber(at[2] or 0) ~= tonumber(ARGV[2]) then
  return {'other', at[1] or '', at[2] or '0', redis.call('HEXISTS', KEYS[1], 'replaces:' .. ARGV[1])}
end
`

const CLOCK = String.raw`
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
`

/** ARGV[3]: ms since 1970, by Redis' clock. */
const IN_TIME = String.raw`${CLOCK}
if now() > tonumber(ARGV[3]) then return {'late', now()} end
`

/** HMGET in pieces: Lua's stack holds no more. */
const BODIES = String.raw`
local function bodiesOf(key, names)
  local bodies = {}
  for first = 1, #names, 500 do
    local some = redis.call('HMGET', key, unpack(names, first, math.min(first + 499, #names)))
    for n = 1, #some do bodies[#bodies + 1] = some[n] or '' end
  end
  return bodies
end
`

/** Everything that begins with a text which ends in NUL. */
const RANGE = String.raw`
local function range(key, prefix, ...)
  return redis.call('ZRANGEBYLEX', key, '[' .. prefix, '(' .. string.sub(prefix, 1, -2) .. '\1', ...)
end
`

/**
 * KEYS meta. ARGV known id or '', schema, a fresh id. Makes the store where nobody knows another one.
 * Answers id, schema, whether it replaces the known one, its clock, how many replicas follow, and where they are.
 */
export const LOOK = redisScript(String.raw`${CLOCK}
local at = redis.call('HMGET', KEYS[1], 'id', 'schema')
if not at[1] and ARGV[1] == '' then
  redis.call('HSET', KEYS[1], 'id', ARGV[3], 'schema', ARGV[2])
  at = {ARGV[3], ARGV[2]}
end
local info = redis.pcall('INFO', 'replication')
if type(info) ~= 'string' then info = '' end
local replicas, places = string.match(info, 'connected_slaves:(%d+)') or '0', {}
for ip, port in string.gmatch(info, 'slave%d+:ip=([^,]+),port=(%d+)') do places[#places + 1] = ip .. ' ' .. port end
local replaces = redis.call('HEXISTS', KEYS[1], 'replaces:' .. ARGV[1])
return {at[1] or '', at[2] or '0', replaces, now(), tonumber(replicas), places}
`)

/** KEYS meta. ARGV known id, schema, a fresh id. Makes what is there the successor of the known store; answers its id. */
export const ACCEPT = redisScript(String.raw`${CLOCK}
local at = redis.call('HMGET', KEYS[1], 'id', 'schema')
if tonumber(at[2] or 0) > tonumber(ARGV[2]) then return {'other', at[1] or '', at[2], 0} end
local id = at[1]
if not id then
  id = ARGV[3]
  redis.call('HSET', KEYS[1], 'id', id, 'schema', ARGV[2])
end
if id ~= ARGV[1] then redis.call('HSET', KEYS[1], 'replaces:' .. ARGV[1], now()) end
return {'ok', id}
`)

/** KEYS meta. ARGV id, the schema that is there, the one to be said instead. Nothing happens where it is another one. */
export const MARK_SCHEMA = redisScript(String.raw`
local at = redis.call('HMGET', KEYS[1], 'id', 'schema')
if at[1] == ARGV[1] and at[2] == ARGV[2] then redis.call('HSET', KEYS[1], 'schema', ARGV[3]) end
return {}
`)

/** KEYS meta, records. ARGV id, schema, name. */
export const GET = redisScript(String.raw`${SAME_STORE}
return {'ok', redis.call('HGET', KEYS[2], ARGV[3]) or ''}
`)

/** KEYS meta, records, order. ARGV id, schema, from, to, limit: bounds as ZRANGEBYLEX has them. */
export const PAGE = redisScript(String.raw`${SAME_STORE}${BODIES}
local names = redis.call('ZRANGEBYLEX', KEYS[3], ARGV[3], ARGV[4], 'LIMIT', 0, ARGV[5])
return {'ok', names, bodiesOf(KEYS[2], names)}
`)

/** KEYS meta, records, claims. ARGV id, schema, index NUL value NUL. */
export const FIND = redisScript(String.raw`${SAME_STORE}${BODIES}${RANGE}
local names = {}
for _, member in ipairs(range(KEYS[3], ARGV[3])) do
  names[#names + 1] = string.match(string.sub(member, #ARGV[3] + 1), '^[^%z]*%z(.*)$')
end
return {'ok', names, bodiesOf(KEYS[2], names)}
`)

/** KEYS meta, claims. ARGV id, schema, index NUL. At once, so that a claim that moves is neither missed nor seen twice. */
export const CLAIMS = redisScript(String.raw`${SAME_STORE}${RANGE}
return {'ok', range(KEYS[2], ARGV[3])}
`)

/** KEYS meta. ARGV id, schema. */
export const LAST_INVALIDATION = redisScript(String.raw`${SAME_STORE}
return {'ok', tonumber(redis.call('HGET', KEYS[1], 'invalidation') or 0)}
`)

/** KEYS meta. ARGV id, schema, deadline. */
export const NEXT_INVALIDATION = redisScript(String.raw`${SAME_STORE}${IN_TIME}
return {'ok', redis.call('HINCRBY', KEYS[1], 'invalidation', 1)}
`)

/**
 * The same decisions as transaction-plan.ts: first a plan over what is there, then, without a conflict, the writes.
 * KEYS meta, kinds, then records, order, claims of each kind. ARGV id, schema, deadline, 1 where an invalidation is
 * numbered with it, number of kinds, their names, then
 * five for each change: number of its kind, put or remove, name, what is expected ('' for nothing), body.
 * Answers ok, whether anything was taken away and the invalidation's number; or the number of the change that must not be and why.
 */
export const TRANSACT = redisScript(String.raw`${SAME_STORE}${IN_TIME}${RANGE}
local function key(kind, which) return KEYS[2 + 3 * (kind - 1) + which] end

-- By plain finds: a pattern would try again at every byte of the value.
local function claimsOf(body)
  local claims, from = {}, 1
  while true do
    local index = string.find(body, '\0', from, true)
    if not index then return claims end
    local value = string.find(body, '\0', index + 1, true)
    local scope = string.find(body, '\0', value + 1, true)
    claims[#claims + 1] = string.sub(body, from, scope)
    from = scope + 1
  end
end

local records, order, claims, held = {}, {}, {}, {}

local function planned(kind, name)
  local slot = kind .. '\0' .. name
  local record = records[slot]
  if not record then
    record = {kind = kind, name = name, was = redis.call('HGET', key(kind, 1), name)}
    if record.was then
      local version, rest = string.match(record.was, '^(%d+)%z(.*)$')
      record.version, record.body = version, rest
    end
    records[slot] = record
    order[#order + 1] = record
  end
  return record
end

local function claimed(kind, name)
  local slot = kind .. '\0' .. name
  local claim = claims[slot]
  if not claim then
    local member = range(key(kind, 3), name, 'LIMIT', 0, 1)[1]
    local was = member and string.sub(member, #name + 1) or false
    claim = {kind = kind, name = name, was = was, holder = was}
    claims[slot] = claim
    held[#held + 1] = claim
  end
  return claim
end

local kinds = tonumber(ARGV[5])
local number = 0
for at = 6 + kinds, #ARGV, 5 do
  number = number + 1
  local kind, put, name, expect = tonumber(ARGV[at]), ARGV[at + 1] == 'put', ARGV[at + 2], ARGV[at + 3]
  local record = planned(kind, name)
  if expect == 'absent' then
    if record.body then return {'exists', number} end
  elseif expect ~= '' then
    if not record.body then return {'missing', number} end
    if expect ~= 'present' and expect ~= record.version then return {'changed', number} end
  end
  if record.body then
    for _, claim in ipairs(claimsOf(record.body)) do claimed(kind, claim).holder = false end
  end
  if put then
    record.body = ARGV[at + 4]
    record.version = record.version or '0'
    for index, name_ in ipairs(claimsOf(record.body)) do
      local claim = claimed(kind, name_)
      if claim.holder and claim.holder ~= name then return {'taken', number, index, claim.holder} end
      claim.holder = name
    end
  else
    record.body, record.version = nil, nil
  end
end

local taken = 0
local version = redis.call('HINCRBY', KEYS[1], 'version', #order) - #order
for _, record in ipairs(order) do
  if record.body then
    version = version + 1
    redis.call('HSET', key(record.kind, 1), record.name, string.format('%.0f', version) .. '\0' .. record.body)
    if not record.was then
      redis.call('ZADD', key(record.kind, 2), 0, record.name)
      redis.call('SADD', KEYS[2], ARGV[5 + record.kind])
    end
  elseif record.was then
    taken = 1
    redis.call('HDEL', key(record.kind, 1), record.name)
    redis.call('ZREM', key(record.kind, 2), record.name)
  end
end
for _, claim in ipairs(held) do
  if claim.was ~= claim.holder then
    if claim.was then
      taken = 1
      redis.call('ZREM', key(claim.kind, 3), claim.name .. claim.was)
    end
    if claim.holder then redis.call('ZADD', key(claim.kind, 3), 0, claim.name .. claim.holder) end
  end
end
return {'ok', taken, ARGV[4] == '1' and redis.call('HINCRBY', KEYS[1], 'invalidation', 1) or 0}
`)

/**
 * A copy of all records that nobody changes, for an export that reads it in its own time.
 * KEYS meta, kinds, then records, order and their copies of each kind. ARGV id, schema, deadline, ms that the copies last.
 */
export const FREEZE = redisScript(String.raw`${SAME_STORE}${IN_TIME}
if redis.call('SCARD', KEYS[2]) ~= (#KEYS - 2) / 4 then return {'again'} end
for at = 3, #KEYS, 4 do
  for offset = 0, 1 do
    redis.call('COPY', KEYS[at + offset], KEYS[at + 2 + offset])
    redis.call('PEXPIRE', KEYS[at + 2 + offset], ARGV[4])
  end
end
local counts = redis.call('HMGET', KEYS[1], 'version', 'invalidation')
return {'ok', tonumber(counts[1] or 0), tonumber(counts[2] or 0)}
`)

/**
 * Puts an import in place of what is there, at once. KEYS meta, kinds, then three for each kind there is, then three
 * of the import and three to come for each kind of the import. ARGV the known id, the id to be, schema, version,
 * invalidation, 1 where there may be records already, number of kinds there are, '' or the only place (schema, id, version,
 * invalidation) that it may take, then the names of the new kinds.
 */
export const RESTORE = redisScript(String.raw`${CLOCK}
local at = redis.call('HMGET', KEYS[1], 'id', 'schema', 'version', 'invalidation')
if tonumber(at[2] or 0) > tonumber(ARGV[3]) then return {'other', at[1] or '', at[2], 0} end
if ARGV[8] ~= '' and table.concat({at[2] or '', at[1] or '', at[3] or '0', at[4] or '0'}, ' ') ~= ARGV[8] then
  return {'moved'}
end
local old = tonumber(ARGV[7])
if redis.call('SCARD', KEYS[2]) ~= old then return {'again'} end
for n = 3, 2 + 3 * old do
  if redis.call('EXISTS', KEYS[n]) == 1 and ARGV[6] ~= '1' then return {'full'} end
end
for n = 2, 2 + 3 * old do redis.call('UNLINK', KEYS[n]) end
local kind = 9
for n = 3 + 3 * old, #KEYS, 6 do
  for offset = 0, 2 do
    if redis.call('EXISTS', KEYS[n + offset]) == 1 then
      redis.call('RENAME', KEYS[n + offset], KEYS[n + 3 + offset])
      redis.call('PERSIST', KEYS[n + 3 + offset])
    end
  end
  redis.call('SADD', KEYS[2], ARGV[kind])
  kind = kind + 1
end
local version = math.max(tonumber(at[3] or 0), tonumber(ARGV[4]))
local invalidation = math.max(tonumber(at[4] or 0), tonumber(ARGV[5])) + 1
redis.call('HSET', KEYS[1], 'id', ARGV[2], 'schema', ARGV[3], 'version', string.format('%.0f', version),
  'invalidation', string.format('%.0f', invalidation))
for _, before in ipairs({at[1] or '', ARGV[1]}) do
  if before ~= '' and before ~= ARGV[2] then redis.call('HSET', KEYS[1], 'replaces:' .. before, now()) end
end
redis.call('HDEL', KEYS[1], 'replaces:' .. ARGV[2])
return {'ok', invalidation}
`)
