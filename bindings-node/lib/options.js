'use strict'
// From what a user of pg.Pool gives to what the addon takes. leakpool's own options are known by the addon alone; here
// are pg's, which say where and how to connect.

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { binding } = require('./native')
const { invalidArgument, shown, unsupported, LeakpoolError } = require('./errors')
const defaults = require('./defaults')

/** @typedef {Record<string, any>} Config */

/**
 * An option with a value that its rule forbids.
 * @param {string} name
 * @param {unknown} value
 * @param {string} rule
 */
function invalidOption(name, value, rule) {
  const error = new TypeError(`${name} (${shown(value)}) ${rule}`)
  return Object.assign(error, { leakpoolCode: 'invalid_option', code: 'LEAKPOOL_INVALID_OPTION' })
}

/** Options of pg that leakpool's native driver cannot keep. */
const REFUSED = ['stream', 'Client', 'connection', 'replication', 'binary', 'pipeline']

/** pg's options (and ours that only JavaScript knows), each with the type that it must have. */
const KNOWN = {
  connectionString: 'string',
  host: 'string',
  port: 'number or string',
  user: 'string',
  password: 'string or function',
  database: 'string',
  ssl: 'boolean, object or string',
  sslnegotiation: 'string',
  application_name: 'string',
  fallback_application_name: 'string',
  options: 'string',
  client_encoding: 'string',
  statement_timeout: 'number, string or boolean',
  lock_timeout: 'number, string or boolean',
  idle_in_transaction_session_timeout: 'number, string or boolean',
  query_timeout: 'number or boolean',
  keepAlive: 'boolean',
  keepAliveInitialDelayMillis: 'number',
  enableChannelBinding: 'boolean',
  scramMaxIterations: 'number',
  types: 'object',
  poolSize: 'number',
  allowExitOnIdle: 'boolean',
  log: 'function',
  verify: 'function',
  onConnect: 'function',
  Promise: 'function',
  parseInputDatesAsUTC: 'boolean',
  allowOpenTransaction: 'boolean',
  clock: 'object',
}

const OWN = new Set(binding.optionNames())

/**
 * @param {string} name
 * @param {unknown} value
 * @param {string} types
 */
function checkType(name, value, types) {
  if (types.includes(typeof value)) return
  throw invalidOption(name, value, `must be a ${types}`)
}

/** A time-out of pg: a number of milliseconds, or false. */
const TIMEOUTS = /** @type {const} */ (['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'])

/**
 * @param {string} name
 * @param {unknown} value
 * @returns {string | undefined} the value, if there is a limit
 */
function timeout(name, value) {
  if (value === undefined || value === null || value === false) return undefined
  const text = String(value)
  const number = Number(text)
  if (value === true || text.trim() === '' || !Number.isInteger(number) || number < 0 || number > 2147483647) {
    throw invalidOption(name, value, 'must be a number of milliseconds from 0 to 2147483647, or false')
  }
  return text
}

const warned = new Set()

/**
 * pg ignores what it does not know. A near miss is a mistake; the rest is told once.
 * @param {string} name
 * @param {unknown} value
 */
function unknownOption(name, value) {
  const near = nearest(name)
  if (near !== '') throw invalidOption(name, value, `is no option; did you mean ${near}?`)
  if (warned.has(name)) return
  warned.add(name)
  process.emitWarning(`there is no option ${name.slice(0, 80)}; it is ignored`, { code: 'LEAKPOOL_UNKNOWN_OPTION' })
}

/** @param {string} name */
function nearest(name) {
  const lower = name.toLowerCase()
  const known = Object.keys(KNOWN).find((k) => k.toLowerCase() === lower && k !== name)
  return known ?? binding.nearestOption(name)
}

/**
 * The parameters of a connection string that are pg's own or that pg reads otherwise than libpq; the rest of it.
 * @param {string} text
 * @returns {{ dsn: string, found: Config }}
 */
function splitConnectionString(text) {
  /** @type {Config} */
  const found = {}
  // pg's short form: a socket's directory, and a database.
  if (text.startsWith('/')) {
    const [host, database] = text.split(' ')
    return { dsn: '', found: { host, database } }
  }
  if (text.startsWith('socket:')) {
    const url = parseUrl(text)
    return {
      dsn: '',
      found: {
        host: decodeURI(url.pathname),
        database: url.searchParams.get('db') ?? undefined,
        user: decodeURIComponent(url.username) || undefined,
        password: decodeURIComponent(url.password) || undefined,
      },
    }
  }
  const question = text.indexOf('?')
  if (question < 0 || !/^postgres(ql)?:\/\//.test(text)) return { dsn: text, found }
  const kept = []
  for (const pair of text.slice(question + 1).split('&')) {
    const [rawName, rawValue = ''] = pair.split('=')
    const name = decode(rawName)
    switch (name) {
      case 'ssl':
      case 'sslmode':
      case 'uselibpqcompat':
      case 'statement_timeout':
      case 'lock_timeout':
      case 'idle_in_transaction_session_timeout':
      case 'query_timeout':
      case 'encoding':
        found[name] = decode(rawValue)
        break
      case '':
        break
      default:
        if (binding.isConnectionParameter(name)) kept.push(pair)
        else unknownParameter(name)
    }
  }
  const query = kept.length > 0 ? `?${kept.join('&')}` : ''
  return { dsn: text.slice(0, question) + query, found }
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return text
  }
}

/** @param {string} text */
function parseUrl(text) {
  try {
    return new URL(text)
  } catch {
    // Not shown, and without its cause: it may hold a password.
    throw invalidOption('connectionString', '…', 'is no URL')
  }
}

/** @param {string} name */
function unknownParameter(name) {
  const key = `?${name}`
  if (warned.has(key)) return
  warned.add(key)
  const text = `the connection string has a parameter ${name.slice(0, 80)} that is not known; it is ignored`
  process.emitWarning(text, { code: 'LEAKPOOL_UNKNOWN_OPTION' })
}

/**
 * TLS as pg understands it: on means that the certificate is checked, unless somebody says otherwise.
 * @param {Config} config
 * @param {Config} found in the connection string
 * @returns {[string, string][]}
 */
function tls(config, found) {
  let ssl = config.ssl
  const libpq = found.uselibpqcompat === 'true'
  if (found.ssl !== undefined) ssl = found.ssl
  if (found.sslmode !== undefined) {
    if (libpq) return [['sslmode', found.sslmode]]
    ssl = found.sslmode
  }
  if (ssl === undefined || ssl === null) ssl = process.env.PGSSLMODE ?? false
  switch (ssl) {
    case false:
    case 'false':
    case '0':
    case 'disable':
    case '':
      return [['sslmode', 'disable']]
    case true:
    case 'true':
    case '1':
    case 'prefer':
    case 'require':
    case 'verify-ca':
    case 'verify-full':
      return [['sslmode', 'verify-full']]
    case 'no-verify':
      return [['sslmode', 'require']]
    default:
  }
  if (typeof ssl !== 'object') {
    throw invalidOption('ssl', ssl, "must be true, false, 'no-verify', or an object as tls.connect takes it")
  }
  /** @type {[string, string][]} */
  const fields = [['sslmode', ssl.rejectUnauthorized === false ? 'require' : 'verify-full']]
  if (ssl.ca != null && ssl.rejectUnauthorized !== false) fields.push(['sslrootcert', pem('ssl.ca', ssl.ca)])
  if (ssl.cert != null) fields.push(['sslcert', pem('ssl.cert', ssl.cert)])
  if (ssl.key != null) fields.push(['sslkey', pem('ssl.key', ssl.key)])
  for (const name of ['pfx', 'passphrase', 'secureContext', 'crl']) {
    if (ssl[name] != null) throw new LeakpoolError(`ssl.${name} is not supported: give ca, cert and key`, 'unsupported')
  }
  if (typeof ssl.checkServerIdentity === 'function') {
    // The usual reason for one of its own is a name that does not fit; it cannot be asked.
    fields[0][1] = ssl.rejectUnauthorized === false ? 'require' : 'verify-full'
  }
  return fields
}

/** @type {string | undefined} */
let folder

/**
 * The core reads certificates from files. Ours are readable by nobody else, and gone with the process.
 * @param {string} name
 * @param {unknown} value
 */
function pem(name, value) {
  const parts = Array.isArray(value) ? value : [value]
  const text = parts
    .map((part) => {
      if (typeof part === 'string') return part
      if (ArrayBuffer.isView(part)) return Buffer.from(part.buffer, part.byteOffset, part.byteLength).toString('utf8')
      throw invalidOption(name, part, 'must be a text or a Buffer in PEM form, or a list of them')
    })
    .join('\n')
  if (folder === undefined) {
    const made = fs.mkdtempSync(path.join(os.tmpdir(), 'leakpool-'))
    process.once('exit', () => fs.rmSync(made, { recursive: true, force: true }))
    folder = made
  }
  const file = path.join(folder, `${name}-${process.hrtime.bigint()}.pem`)
  fs.writeFileSync(file, text, { mode: 0o600 })
  return file
}

/**
 * @typedef {object} Prepared
 * @property {string} dsn
 * @property {[string, string][]} fields
 * @property {[string, string][]} defaults stand in for variables of the environment
 * @property {[string, any][]} own leakpool's options
 * @property {Config} config what was given, with the connection string's parameters
 */

/**
 * Checks a pool's options and translates them.
 * @param {Config | string | undefined | null} given
 * @returns {Prepared}
 */
function prepare(given) {
  if (given !== undefined && given !== null && typeof given !== 'object' && typeof given !== 'string') {
    throw invalidArgument('options', given, 'must be an object or a connection string')
  }
  /** @type {Config} */
  const config = withDefaults(typeof given === 'string' ? { connectionString: given } : { ...given })
  if (given !== null && typeof given === 'object' && 'password' in given) config.password = given.password
  /** @type {[string, any][]} */
  const own = []
  for (const [name, value] of Object.entries(config)) {
    if (value === undefined || value === null) continue
    if (REFUSED.includes(name)) {
      if (value) throw unsupported(`the option ${name}`)
    } else if (OWN.has(name)) {
      addOwn(own, name, value)
    } else if (name in KNOWN) {
      checkType(name, value, /** @type {any} */ (KNOWN)[name])
    } else {
      unknownOption(name, value)
    }
  }
  if (config.Promise != null && config.Promise !== Promise) {
    throw new LeakpoolError('the option Promise must be the built-in Promise', 'unsupported')
  }
  if (config.max == null && config.poolSize) addOwn(own, 'max', config.poolSize)

  const { dsn, found } = splitConnectionString(config.connectionString ?? '')
  /** @type {[string, string][]} */
  const fields = tls(config, found)
  /** @type {[string, string][]} */
  const defaults = []
  addTarget(config, found, dsn, fields, defaults)
  addSession(config, found, fields)
  return { dsn, fields, defaults, own, config: { ...config, ...withoutEmpty(found) } }
}

/**
 * What `defaults` say, where nothing else does. As in pg: a connection string of theirs stands in for all other ways to
 * say where to connect.
 * @param {Config} config
 * @returns {Config}
 */
function withDefaults(config) {
  const set = defaults.changed()
  if (set.length === 0) return config
  const given = { ...config }
  for (const [name, value] of set) {
    const known = name === 'poolSize' ? 'max' : name
    if (given[known] !== undefined && given[known] !== null) continue
    // Said where to connect, a pool does not go elsewhere because of a string that it does not have.
    if (name === 'connectionString' && TARGET.some((key) => config[key] != null)) continue
    // The environment goes before them, as in pg.
    const variable = ENVIRONMENT[name]
    if (variable !== undefined && process.env[variable]) continue
    given[known] = value
  }
  return given
}

const TARGET = ['host', 'port', 'user', 'password', 'database']

/** @type {Record<string, string>} */
const ENVIRONMENT = {
  host: 'PGHOST',
  port: 'PGPORT',
  user: 'PGUSER',
  password: 'PGPASSWORD',
  database: 'PGDATABASE',
  ssl: 'PGSSLMODE',
  application_name: 'PGAPPNAME',
  client_encoding: 'PGCLIENTENCODING',
  options: 'PGOPTIONS',
}

/** @param {Config} found */
function withoutEmpty(found) {
  const { host, database, user, query_timeout } = found
  return Object.fromEntries(Object.entries({ host, database, user, query_timeout }).filter(([, v]) => v !== undefined))
}

/**
 * @param {[string, any][]} own
 * @param {string} name
 * @param {any} value
 */
function addOwn(own, name, value) {
  // pg's ways to say "off" and "the default".
  if (name === 'maxUses' && value === Infinity) return
  if (['max', 'maxUses'].includes(name) && value === 0) return
  if (typeof value !== 'boolean' && typeof value !== 'number' && typeof value !== 'string') {
    throw invalidOption(name, value, 'must be a boolean, a number or a string')
  }
  own.push([name, value])
}

/**
 * Where to connect. What a connection string says goes before the same option, and that before the environment.
 * @param {Config} config
 * @param {Config} found
 * @param {string} dsn
 * @param {[string, string][]} fields
 * @param {[string, string][]} defaults
 */
function addTarget(config, found, dsn, fields, defaults) {
  const port = config.port
  if (port != null && port !== '') {
    const number = Number(port)
    if (!Number.isInteger(number) || number < 1 || number > 65535) {
      throw invalidOption('port', port, 'must be a whole number from 1 to 65535')
    }
  }
  /** @type {[string, string, unknown][]} */
  const target = [
    ['host', 'PGHOST', found.host ?? config.host],
    ['port', 'PGPORT', port],
    ['user', 'PGUSER', found.user ?? config.user],
    ['password', 'PGPASSWORD', found.password ?? (typeof config.password === 'function' ? undefined : config.password)],
    ['dbname', 'PGDATABASE', found.database ?? config.database],
  ]
  for (const [name, variable, value] of target) {
    if (value === undefined || value === null || value === '') continue
    if (dsn === '') fields.push([name, String(value)])
    else defaults.push([variable, String(value)])
  }
  // Not libpq's default, which is a unix socket.
  const host = defaults.some(([variable]) => variable === 'PGHOST') || process.env.PGHOST
  if (!host) defaults.push(['PGHOST', 'localhost'])
}

/**
 * What a session is to be like.
 * @param {Config} config
 * @param {Config} found
 * @param {[string, string][]} fields
 */
function addSession(config, found, fields) {
  const encoding = found.encoding ?? config.client_encoding
  if (encoding) fields.push(['client_encoding', encoding])
  for (const name of ['application_name', 'fallback_application_name', 'sslnegotiation']) {
    if (config[name]) fields.push([name, config[name]])
  }
  if (config.enableChannelBinding) fields.push(['channel_binding', 'prefer'])
  if (config.keepAlive === false) fields.push(['keepalives', '0'])
  if (config.keepAliveInitialDelayMillis > 0) {
    fields.push(['keepalives_idle', String(Math.max(1, Math.floor(config.keepAliveInitialDelayMillis / 1000)))])
  }
  const settings = []
  if (config.options || process.env.PGOPTIONS) settings.push(config.options || process.env.PGOPTIONS)
  const before = settings.length
  for (const name of TIMEOUTS) {
    const value = timeout(name, found[name] ?? config[name])
    if (value !== undefined) settings.push(`-c ${name}=${value}`)
  }
  timeout('query_timeout', found.query_timeout ?? config.query_timeout)
  if (config.options || settings.length > before) fields.push(['options', settings.join(' ')])
}

module.exports = { prepare, invalidOption }
