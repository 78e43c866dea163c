// JSON as SPEC.md section 4 bounds it, and as much of JSON Schema as dof.schema.json uses. Nothing here knows of files.

/** The value of a UTF-8 text within 16 MiB and 32 levels, without byte order mark and no name twice in an object. */
export function strictJson(bytes) {
  if (bytes.length > 16 * 1024 * 1024) throw new SyntaxError('too long')
  const json = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  const value = JSON.parse(json), open = [], colon = /[ \t\r\n]*:/y
  for (let at = 0; at < json.length; at++) {
    if (json[at] === '}' || json[at] === ']') open.pop()
    if ((json[at] === '{' || json[at] === '[') && open.push(new Set()) > 32) throw new SyntaxError('nested too deep')
    if (json[at] !== '"') continue
    const start = at
    while (json[++at] !== '"') if (json[at] === '\\') at++
    colon.lastIndex = at + 1
    if (!colon.test(json)) continue
    const name = JSON.parse(json.slice(start, at + 1)), names = open.at(-1)
    if (names.size === names.add(name).size) throw new SyntaxError(`the name ${name} stands twice`)
  }
  return value
}

const IS = {
  object: value => value !== null && typeof value === 'object' && !Array.isArray(value),
  array: Array.isArray,
  integer: Number.isInteger,
  number: value => typeof value === 'number',
  string: value => typeof value === 'string',
  boolean: value => typeof value === 'boolean',
  null: value => value === null,
}

/** Yields {id, message} for everything in `value` that `schema` does not allow; `root` holds the definitions. */
export function* conform(value, schema, root = schema, at = 'dof') {
  if (schema.$ref) return yield* conform(value, root.$defs[schema.$ref.split('/').pop()], root, at)
  if (schema.anyOf) return value === null ? undefined : yield* conform(value, schema.anyOf[0], root, at)
  const types = [schema.type ?? []].flat(), problem = (id, where = at) => ({ id, message: where })
  if (types.length && !types.some(type => IS[type](value))) return yield problem('metadata-type')
  if (schema.enum && !schema.enum.includes(value)) yield problem('metadata-type')
  const pattern = schema.pattern && value !== null && new RegExp(schema.pattern, 'u')
  if (pattern && !pattern.test(value)) yield problem('metadata-pattern')
  if (value < schema.minimum) yield problem('metadata-range')
  if (schema.items)
    for (const [index, item] of value.entries()) yield* conform(item, schema.items, root, `${at}[${index}]`)
  if (!types.includes('object')) return
  for (const name of schema.required ?? [])
    if (!Object.hasOwn(value, name)) yield problem('metadata-missing', `${at}.${name}`)
  for (const [name, member] of Object.entries(value)) {
    const known = schema.properties && Object.hasOwn(schema.properties, name)
    const rule = known ? schema.properties[name] : schema.additionalProperties
    if (rule) yield* conform(member, rule, root, `${at}.${name}`)
  }
}
