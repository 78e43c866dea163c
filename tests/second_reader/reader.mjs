// A reader of DoF files, version 1, in one file, written from schemas/SPEC.md alone; "§" names its sections.
//
//   const file = await open(local('a.parquet'))     // or memory(buffer), http(url), {size, read(at, length)}
//   file.state, file.problems, file.dof             // 'sealed', …; what users must be told; the metadata
//   const vectors = await file.column('feature')    // proved to be mapped (§6.5), or null: decode it
//   await vectors.group(0), await vectors.row(17)   // Float32Arrays, views on the bytes read, and no others
//   await file.check()                              // every segment's digest: adds to file.problems
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

if (new Uint8Array(Uint16Array.of(1).buffer)[0] !== 1) throw new Error('for little-endian machines only')
const KiB = 1024, MiB = KiB * KiB
export const sha256 = (...all) => all.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()

/** The file, or a part of it, cannot be used; `id` is one of appendix A. */
export class Refused extends Error {
  constructor(id, message) { super(`${id}: ${message}`); this.id = id }
}
const refuse = (id, message) => { throw new Refused(id, message) }
const malformed = message => refuse('footer-thrift', message)

/** A file in memory: what is read from it are views. */
export const memory = file => ({ size: file.byteLength, read: (at, size) => new Uint8Array(file, at, size) })

/** A file on disk, each range of it read into memory of its own. */
export function local(path) {
  const file = openSync(path), read = (position, length, bytes = new Uint8Array(length)) =>
    bytes.subarray(0, readSync(file, bytes, { position }))
  return { size: fstatSync(file).size, read, close: () => closeSync(file) }
}

/** A file on a server of byte ranges. */
export async function http(url) {
  const head = await fetch(url, { method: 'HEAD' }), ranged = range => fetch(url, { headers: { range } })
  const read = async (at, length) => {
    const answer = await ranged(`bytes=${at}-${at + length - 1}`)
    return new Uint8Array(await answer.arrayBuffer())
  }
  return { size: Number(head.headers.get('content-length')), read }
}

/** A Buffer of exactly these bytes, or RangeError. */
export async function take(source, at, length) {
  const inside = at >= 0 && length >= 0 && at + length <= source.size
  const bytes = inside && length ? await source.read(at, length) : new Uint8Array(0)
  if (!inside || bytes.length !== length) throw new RangeError(`no ${length} bytes at ${at}`)
  return Buffer.from(bytes.buffer, bytes.byteOffset, length)
}

const STRUCTS = {                                    // §2.3: name, field id, type; [] a list, ? may be absent
  FileMetaData: 'schema 2 [SchemaElement], rows 3 i64, groups 4 [RowGroup], pairs 5 [KeyValue]?, by 6 text?',
  SchemaElement: 'type 1 i32?, width 2 i32?, repetition 3 i32?, name 4 text, children 5 i32?',
  KeyValue: 'key 1 text, value 2 binary?', RowGroup: 'columns 1 [ColumnChunk], rows 3 i64, order 4 [Order]?',
  ColumnChunk: 'file 1 text?, meta 3 ColumnMetaData, at 4 i64?, of 6 i64?, crypto 8 Key?, secret 9 binary?',
  ColumnMetaData: 'type 1 i32, encodings 2 [i32], path 3 [text], codec 4 i32, values 5 i64, inflated 6 i64, '
    + 'size 7 i64, page 9 i64, dictionary 11 i64?, stats 13 [PageEncodingStats]?, bloom 14 i64?, geo 17 G?',
  PageEncodingStats: 'type 1 i32, encoding 2 i32, count 3 i32', Dictionary: 'values 1 i32, encoding 2 i32',
  PageHeader: 'type 1 i32, inflated 2 i32, size 3 i32, data 5 Page?, names 7 Dictionary?, data2 8 Page?',
  Page: 'values 1 i32, encoding 2 i32?, definition 3 i32?, repetition 4 i32?',
}
const FIELDS = Object.fromEntries(Object.entries(STRUCTS).map(([struct, fields]) =>
  [struct, fields.split(', ').map(field => field.split(' ')).map(([name, id, type]) =>
    ({ name, id: Number(id), of: type.replace('?', ''), absent: type.endsWith('?') }))]))
const wire = of => ({ i32: 5, i64: 6, text: 8, binary: 8 })[of] ?? (of[0] === '[' ? 9 : 12)

/** The Thrift struct of this type at the start of these bytes (§2.2, §2.3), and in `used` its length. */
export function thrift(type, bytes) {
  let at = 0, count = 0
  const within = (most, length) => length <= Math.min(most, bytes.length - at) ? length : malformed('length')
  const byte = () => at < bytes.length ? bytes[at++] : malformed('it ends too soon')
  const varint = (scale = 1, low = scale < 2 ** 70 ? byte() : malformed('a varint too long')) =>
    low < 128 ? low * scale : (low - 128) * scale + varint(scale * 128)
  const zigzag = (bits, value = varint()) => value >= 2 ** bits ? malformed('a number too long') :
    value % 2 ? -(value + 1) / 2 : value / 2                                               // exact below 2^53
  const binary = length => bytes.subarray(at, at += within(Infinity, length))
  const list = (depth, of, head = byte(), length = within(65536, head >> 4 < 15 ? head >> 4 : varint())) =>
    Array.from({ length }, () => (head & 15) < 3 ? byte() === 1 : value(head & 15, depth, of?.slice(1, -1)))
  const struct = (depth, type) => {
    const fields = FIELDS[type] ?? [], found = {}
    for (let id = 0, before = 0, head; (head = byte()) !== 0; before = id) {
      id = head >> 4 ? id + (head >> 4) : zigzag(16)
      if (id <= before || id > 32767) malformed(`field ${id} behind field ${before}`)
      const { name, of } = fields.find(field => field.id === id) ?? {}, read = value(head & 15, depth, of)
      if (name) found[name] = read
    }
    return fields.every(({ name, absent }) => absent || name in found) ? found : malformed('a field missing')
  }
  const types = [, () => true, () => false, byte, () => zigzag(16), () => zigzag(32), () => zigzag(64),
    () => binary(8), () => binary(varint()), list, list, , struct]
  const value = (kind, depth, of) => {
    if (++count > 1e6 || depth > 15 || !types[kind]) malformed('a type, a number or a depth too much')
    const read = of === undefined || wire(of) === kind ? types[kind](depth + 1, of) : malformed(`no ${of}`)
    if (of?.[0] === 'i' && !Number.isSafeInteger(read)) malformed('a number of 2^53 or more')
    return of === 'text' ? read.toString() : read
  }
  return { ...struct(1, type), used: at }
}

/** The leaves of the schema, each with its path and the `line` of elements that leads to it (§2.3) */
function leavesOf(elements, at = 0) {
  const bad = message => refuse('footer-schema', message), below = above => {
    const element = elements[at++] ?? bad('it ends too soon'), line = [...above, element]
    const { children: length = 0 } = element, path = line.slice(1).map(({ name }) => name)
    if (length > elements.length || above.length > 100) bad('too large')
    if (above.length && length > 0 === (element.type !== undefined)) bad('neither a group nor a column')
    if (length > 0) return Array.from({ length }, () => below(line)).flat()
    return above.length ? [{ ...element, path, line: line.slice(1) }] : []
  }
  return [...below([]), ...at < elements.length ? bad('it has elements left') : []]
}

/** A row group, each chunk with the bytes that it occupies (§2.3). */
function located({ rows, columns, order }, leaves, start) {
  const paths = all => JSON.stringify(all.map(({ path }) => path)), metas = columns.map(({ meta }) => meta)
  if (paths(metas) !== paths(leaves)) refuse('chunk-columns', 'not those of the schema')
  const isHere = ({ file, crypto, secret }) => (file ?? crypto ?? secret) === undefined
  if (!columns.every(isHere)) refuse('chunk-elsewhere', 'in another file, or encrypted')
  const more = [order, ...columns.map(c => c.at ?? c.of ?? c.meta.bloom ?? c.meta.geo)]
  return { rows, more, chunks: columns.map(({ meta, meta: { dictionary, page, size } }) => {
    const begin = dictionary > 0 && dictionary < page ? dictionary : page, end = begin + size
    return { ...meta, begin, end, inside: begin >= 4 && end >= begin && end <= start }
  }) }
}

/** Reads the footer within the bounds of §2.1: by one read, or two if it is longer than 64 KiB. */
export async function readFooter(source) {
  if (!(source.size >= 12)) refuse('file-magic', 'shorter than 12 bytes')
  const near = Math.min(source.size, 64 * KiB), last = await take(source, source.size - near, near)
  const magic = last.toString('latin1', near - 4)
  if (magic !== 'PAR1') refuse(magic === 'PARE' ? 'file-encrypted' : 'file-magic', `it ends in ${magic}`)
  const length = last.readUInt32LE(near - 8) + 8, start = source.size - length
  if (length > 48 * MiB || start < 4) refuse('footer-length', `${length} bytes`)
  const tail = length <= near ? last.subarray(-length) : await take(source, start, length)
  const footer = thrift('FileMetaData', tail.subarray(0, -8))
  if (footer.used !== length - 8) refuse('footer-slack', `${length - 8 - footer.used} bytes`)
  const keys = new Map(footer.pairs?.map(({ key, value = Buffer.alloc(0) }) => [key, value]))
  if (keys.size < footer.pairs?.length) refuse('footer-keys', 'a key stands twice')
  const leaves = leavesOf(footer.schema), groups = footer.groups.map(group => located(group, leaves, start))
  return { ...footer, start, tail, keys, leaves, groups, chunks: groups.flatMap(({ chunks }) => chunks) }
}

/** 'unsealed', 'sealed' or 'broken' (§7.2) */
function sealState({ keys, tail }) {
  const key = Buffer.from('1808646f662e7365616c1840', 'hex'), at = tail.indexOf(key) + key.length
  if (!keys.has('dof.seal')) return 'unsealed'
  if (tail.indexOf(key) < 0 || tail.indexOf(key, at) >= 0) return 'broken'
  const digits = sha256(tail.subarray(0, at), '0'.repeat(64), tail.subarray(at + 64)).toString('hex')
  const stated = [tail.toString('latin1', at, at + 64), String(keys.get('dof.seal'))]
  return stated.every(seal => seal === digits) ? 'sealed' : 'broken'
}

const KNOWN = ('version uuid primary_column columns cores record targets splits augmentation head info '
  + 'documents errors performance training privacy provenance integrity parts must_understand').split(' ')
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** What the key dof says, once its version and must_understand allow to read it (§9). */
function metadata(bytes) {
  if (!(bytes?.length <= 16 * MiB)) refuse(bytes ? 'metadata-json' : 'metadata-absent', 'absent, or too long')
  let dof
  try { dof = JSON.parse(UTF8.decode(bytes)) } catch (error) { refuse('metadata-json', error.message) }
  if (!/^0*1\.[0-9]+$/.test(dof?.version)) refuse('metadata-version', `version ${dof?.version}`)
  const strange = [dof.must_understand ?? []].flat().find(name => !KNOWN.includes(name))
  if (strange !== undefined) refuse('metadata-understand', strange)
  if (!dof.columns) refuse('metadata-missing', 'columns')
  return { ...dof, record: { id: 'id', ...dof.record }, documents: [dof.documents ?? []].flat() }
}

const STORED = [                                // §6: [dtypes, physical type, array of what is stored]
  [/^(int(8|16|32)|date32\[day\]|time32\[ms\])$/, 1, Int32Array], [/^uint(8|16|32)$/, 1, Uint32Array],
  [/^(int64|time64\[[un]s]|timestamp\[[mun]s(,.*)?])$/, 2, BigInt64Array], [/^float64$/, 5, Float64Array],
  [/^uint64$/, 2, BigUint64Array], [/^float16$/, 7, Uint16Array], [/^float32$/, 4, Float32Array],
]
const NARROW = { __proto__: null, int8: Int8Array, int16: Int16Array, uint8: Uint8Array, uint16: Uint16Array }
export const stored = dtype => STORED.find(([dtypes]) => dtypes.test(dtype)) ?? []

/** A column whose values are used where they lie, group by group in its `regions`: {first, offset, rows}. */
class Mapped {
  constructor(column) { Object.assign(this, column) }
  async read(offset, rows) {
    const { source, width, Type, Narrow } = this, bytes = await take(source, offset, rows * width)
    const { buffer, byteOffset } = bytes.byteOffset % Type.BYTES_PER_ELEMENT ? new Uint8Array(bytes) : bytes
    const values = new Type(buffer, byteOffset, bytes.length / Type.BYTES_PER_ELEMENT)
    return Narrow ? Narrow.from(values) : values
  }
  group(number) { return this.read(this.regions[number].offset, this.regions[number].rows) }
  row(at) {
    const { first, offset } = this.regions.find(({ first, rows }) => first <= at && at < first + rows) ?? {}
    return this.read(offset + (at - first) * this.width, 1)
  }
}

/** §6.5, 1: whether the schema has the leaf as that of a mapped column */
function isMappable({ line, path, type, width }, { physical, isVector }) {
  const form = line.map(({ repetition, children = 0 }) => `${repetition}/${children}`).join(' ')
  const isList = form === '0/1 2/1 0/0' && path[1] === 'list' && path[2] === 'element'
  return (isVector ? isList : form === '0/0') && type === physical && (physical !== 7 || width === 2)
}

/** §6.5, 2 and 3: what is wrong with a chunk of so many rows, as the footer tells */
function chunkFault({ type, dictionary, codec, values, inflated, size, inside }, rows, column) {
  const { physical, items, width } = column
  if (dictionary !== undefined || codec !== 0 || type !== physical) return 'compressed, or of another type'
  if (rows < 1) return 'row counts'
  return values === rows * items && inflated === size && inside && size >= rows * width ? null : 'sizes'
}

/** §6.5, "from the footer alone": whether header and levels have the size that §6.2 prescribes */
function footerFault({ stats: [page, more] = [], size }, rows, { items, width, isVector }) {
  const varint = number => number < 128 ? 1 : 1 + varint(Math.floor(number / 128))
  const values = rows * items, packed = Math.ceil(values / 8), runs = rows * (3 + varint((items - 8) * 2))
  const starts = items === 1 ? varint(rows * 2) + 1 : items <= 32 ? varint(packed * 2 + 1) + packed : runs
  const data = (isVector ? 4 + starts + 4 + varint(values * 2) + 1 : 0) + rows * width
  const isPlain = page?.type === 0 && page.encoding === 0 && page.count === 1 && !more
  return isPlain && size === 14 + 2 * varint(data * 2) + varint(values * 2) + data ? null : 'other levels'
}

/** §6.5, 4 and 5: what is wrong with the page */
async function pageFault({ begin, end, size }, rows, { source, items, width, isVector }) {
  const header = take(source, begin, Math.min(64, size)).then(bytes => thrift('PageHeader', bytes))
  const { used, data, ...page } = await header.catch(() => ({})), isRle = levels => !isVector || levels === 3
  if (page.type !== 0 || data?.encoding !== 0 || data.values !== rows * items) return 'not one PLAIN page'
  if (!isRle(data.definition) || !isRle(data.repetition)) return 'levels in another encoding'
  const behind = async at => at + 4 + (await take(source, Math.min(begin + at, end - 4), 4)).readUInt32LE()
  const before = isVector ? await behind(await behind(used)) : used
  const fits = page.size === size - used && page.inflated === page.size && before + rows * width === size
  return fits ? null : 'a page of another size'
}

/** The proof of §6.5: a Mapped, or the reason why the column must be decoded. */
async function prove({ source, dof, footer, proof }, name) {
  const { dtype, shape = [] } = dof.columns[name] ?? {}, [, physical, Type] = stored(dtype)
  const sides = [shape].flat(), items = sides.reduce((product, side) => product * side, 1)
  const Narrow = NARROW[dtype], width = items * Type?.BYTES_PER_ELEMENT, isVector = sides.length > 0
  const column = { source, physical, Type, Narrow, items, width, isVector, regions: [] }
  const index = footer.leaves.findIndex(({ path }) => path[0] === name), leaf = footer.leaves[index]
  if (!leaf || !Type || !isMappable(leaf, column)) return 'never mapped, or of another Parquet type'
  let first = 0
  for (const { rows, chunks: { [index]: chunk } } of footer.groups) {
    const fault = chunkFault(chunk, rows, column) ?? await proof(chunk, rows, column)
    if (fault) return fault
    column.regions.push({ first, offset: chunk.end - rows * width, rows, begin: chunk.begin })
    first += rows
  }
  return first === footer.rows ? new Mapped(column) : 'row counts'
}

/** Opens a source, or is Refused. With `fromFooter` columns are proved without a look at their pages. */
export async function open(source, { fromFooter } = {}) {
  const footer = await readFooter(source), dof = metadata(footer.keys.get('dof')), state = sealState(footer)
  const file = new File({ source, proof: fromFooter ? footerFault : pageFault, footer, dof, state })
  return state === 'sealed' ? file : file.distrust()
}

class File {
  constructor(fields) { Object.assign(this, fields, { problems: [], decode: new Map() }) }
  tell(id, message = id) { this.problems.push({ id, message }) }
  /** §7.3: without a true seal it is a derived copy, or damaged; some fields are not to be used in either. */
  distrust() {
    const { dof, state, footer: { by } } = this
    this.derived = by === undefined || by !== dof.provenance?.generator
    this.tell(this.derived ? 'derived-copy' : state === 'broken' ? 'seal-false' : 'seal-missing', `by ${by}`)
    Object.assign(dof, { integrity: {}, uuid: undefined, splits: {}, errors: undefined, documents: [] })
    return this
  }
  /** The column as a Mapped, or null if it must be decoded: `decode` then says why. */
  async column(name) {
    const proof = await prove(this, name)
    return proof instanceof Mapped ? proof : this.decode.set(name, proof) && null
  }
  /** The bytes of an attachment, once range and digest are checked (§5). */
  async attachment({ offset, length, sha256: expected }) {
    const { chunks, start } = this.footer, isBehind = chunks.every(({ end }) => end <= offset)
    if (!isBehind || !(offset + length <= start)) refuse('attachment-bounds', 'not in the tail segment')
    const bytes = await take(this.source, offset, length)
    return sha256(bytes).toString('hex') === expected ? bytes : refuse('attachment-digest', 'other bytes')
  }
  document(name) { return this.attachment(this.dof.documents.find(one => one?.name === name) ?? {}) }
  /** The inputs that gave no row: [{id, rule, reason}] (§5) */
  async errors() {
    const bytes = this.dof.errors ? await this.attachment(this.dof.errors) : ''
    return bytes.toString().split('\n').slice(0, -1).map(line => JSON.parse(line))
  }
  /** Compares the digest of every segment with that in the footer: a pass over the file (§7.1). */
  async check() {
    const { keys, chunks, start } = this.footer, text = String(keys.get('dof.digests') ?? '')
    const ends = chunks.map(({ end }) => end).sort((a, b) => a - b), digests = Buffer.from(text, 'base64')
    if (!text || digests.length % 32 || text !== digests.toString('base64')) return this.tell('digests-form')
    if (digests.length !== 32 * (ends.length + 1)) return this.tell('digests-count', `not ${ends.length + 1}`)
    for (const [at, end] of [...ends, start].entries()) {
      const found = await digest(this.source, ends[at - 1] ?? 0, end).catch(() => null)
      if (!found?.equals(digests.subarray(at * 32, at * 32 + 32))) this.tell('digest-false', `segment ${at}`)
    }
  }
}

/** SHA-256 of the bytes [start, end), piece by piece */
async function digest(source, start, end, hash = createHash('sha256')) {
  for (let at = start; at < end; at += MiB) hash.update(await take(source, at, Math.min(MiB, end - at)))
  return hash.digest()
}
