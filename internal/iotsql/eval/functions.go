package eval

import (
	"encoding/base64"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/cockroachdb/apd/v3"

	"mote/internal/iotsql"
)

// functions are the functions that are offered, by their name in lower case
// (AWS IoT SQL reference, "Functions").
var functions = map[string]function{
	"accountid": withMessage(func(m *Message) Value { return text(m.Account) }),
	"clientid":  withMessage(clientID),
	"newuuid":   withMessage(func(*Message) Value { return text(newUUID()) }),
	"principal": withMessage(func(m *Message) Value { return present(m.Principal) }),
	"sourceip":  withMessage(func(m *Message) Value { return present(m.SourceIP) }),
	"timestamp": withMessage(func(m *Message) Value { return integer(m.Time.UnixMilli()) }),
	"traceid":   withMessage(traceID),
	"topic":     {max: 1, call: topic},
	"sql_version": {call: func(c *compiler, _ *Message, _ []Value) Value {
		return text(string(c.version))
	}},

	"isnull":         ofValue(func(v Value) Value { return boolean(v.kind == Null) }),
	"isundefined":    since2016(ofValue(func(v Value) Value { return boolean(v.kind == Undefined) })),
	"nanvl":          {min: 2, max: 2, call: nanvl},
	"get_or_default": {min: 2, max: 2, call: orDefault},
	"get":            {min: 2, max: 2, call: func(_ *compiler, _ *Message, a []Value) Value { return get(a[0], a[1]) }},

	"abs":       ofNumber(abs),
	"ceil":      ofNumber(func(n Value) Value { return n.round(apd.RoundCeiling) }),
	"floor":     ofNumber(func(n Value) Value { return n.round(apd.RoundFloor) }),
	"round":     ofNumber(func(n Value) Value { return n.round(apd.RoundHalfUp) }),
	"sign":      ofNumber(func(n Value) Value { return integer(int64(compare(n, integer(0)))) }),
	"mod":       ofNumbers(remainder),
	"remainder": ofNumbers(remainder),
	"trunc":     {min: 2, max: 2, call: truncTo},

	"chr":        ofNumber(chr),
	"concat":     {max: -1, call: concat},
	"endswith":   ofTexts(func(a, b string) Value { return boolean(strings.HasSuffix(a, b)) }),
	"startswith": ofTexts(func(a, b string) Value { return boolean(strings.HasPrefix(a, b)) }),
	"indexof":    since2016(ofTexts(indexOf)),
	"length":     since2016(ofText(func(s string) Value { return integer(int64(utf8.RuneCountInString(s))) })),
	"numbytes":   since2016(ofText(func(s string) Value { return integer(int64(len(s))) })),
	"lower":      ofText(func(s string) Value { return text(strings.ToLower(s)) }),
	"upper":      ofText(func(s string) Value { return text(strings.ToUpper(s)) }),
	"lpad":       {min: 2, max: 2, call: pad(func(s, spaces string) string { return spaces + s })},
	"rpad":       {min: 2, max: 2, call: pad(func(s, spaces string) string { return s + spaces })},
	"ltrim":      ofText(func(s string) Value { return text(strings.TrimLeft(s, " \t")) }),
	"rtrim":      ofText(func(s string) Value { return text(strings.TrimRight(s, " \t")) }),
	"trim":       ofText(func(s string) Value { return text(strings.Trim(s, " \t")) }),
	"replace":    {min: 3, max: 3, call: replace},
	"substring":  {min: 2, max: 3, call: substring},

	"md2":    ofHash(sumMD2),
	"md5":    ofHash(sumMD5),
	"sha1":   ofHash(sumSHA1),
	"sha224": ofHash(sumSHA224),
	"sha256": ofHash(sumSHA256),
	"sha384": ofHash(sumSHA384),
	"sha512": ofHash(sumSHA512),

	"acos":  ofDouble(preciseAcos),
	"asin":  ofDouble(preciseAsin),
	"atan":  ofDouble(preciseAtan),
	"atan2": ofDoubles(preciseAtan2),
	"cos":   ofDouble(preciseCos),
	"cosh":  ofDouble(preciseCosh),
	"sin":   ofDouble(preciseSin),
	"sinh":  ofDouble(preciseSinh),
	"tan":   ofDouble(preciseTan),
	"tanh":  ofDouble(preciseTanh),
	"exp":   ofDouble(preciseExp),
	"ln":    ofDouble(preciseLog),
	"log":   ofDouble(preciseLog10),
	"sqrt":  ofDouble(math.Sqrt),
	"power": ofDoubles(precisePower),
	"rand":  withMessage(func(*Message) Value { return random() }),

	"bitand": ofBits((*apd.BigInt).And),
	"bitor":  ofBits((*apd.BigInt).Or),
	"bitxor": ofBits((*apd.BigInt).Xor),
	"bitnot": ofNumber(bitNot),

	"regexp_matches": regexpFunction(2, regexpMatches),
	"regexp_replace": regexpFunction(3, regexpReplace),
	"regexp_substr":  regexpFunction(2, regexpSubstr),

	"parse_time":    since2016(function{min: 2, max: 3, compile: parseTime}),
	"time_to_epoch": since2016(function{min: 2, max: 2, compile: timeToEpoch}),

	"transform": since2016(function{min: 3, max: 3, call: transform}),
	"exists":    since2016(ofValue(exists)),

	"get_dynamodb":        since2016(function{min: 4, max: 6, compile: oneDynamoDB}),
	"get_thing_shadow":    since2016(function{min: 2, max: 3, call: getThingShadow}),
	"get_registry_data":   since2016(function{min: 3, max: 3, call: getRegistryData}),
	"get_mqtt_property":   since2016(function{min: 1, max: 1, call: getMQTTProperty}),
	"get_user_properties": since2016(function{max: 1, call: getUserProperties}),

	"aws_lambda":              lacking(2, 2),
	"get_secret":              since2016(lacking(3, 4)),
	"machinelearning_predict": lacking(3, 3),

	"encode": since2016(function{min: 2, max: 2, call: encode}),
	"decode": since2016(function{min: 2, max: 6, compile: decodeScheme}),
}

func present(s string) Value {
	if s == "" {
		return undef
	}
	return outside(s)
}

// outside makes a String of what did not come from a text that was checked.
func outside(s string) Value { return text(strings.ToValidUTF8(s, "\ufffd")) }

func clientID(m *Message) Value {
	if m.ClientID == "" {
		return text("n/a")
	}
	return outside(m.ClientID)
}

// traceID is Undefined for a message that did not come over MQTT.
func traceID(m *Message) Value {
	if !m.overMQTT() {
		return undef
	}
	return text(m.TraceID())
}

// topic returns the topic, or its n-th level, counted from 1.
func topic(_ *compiler, m *Message, a []Value) Value {
	if len(a) == 0 {
		return outside(m.Topic)
	}
	n, ok := a[0].position()
	if !ok || n < 1 {
		return undef
	}
	rest := m.Topic
	for ; n > 1; n-- {
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			return undef
		}
		rest = rest[i+1:]
	}
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		rest = rest[:i]
	}
	return outside(rest)
}

// nanvl returns the second argument when the first has no value.
func nanvl(_ *compiler, _ *Message, a []Value) Value {
	if a[0].kind == Undefined || a[0].kind == Null {
		return a[1]
	}
	return a[0]
}

func orDefault(_ *compiler, _ *Message, a []Value) Value {
	if a[0].kind == Undefined {
		return a[1]
	}
	return a[0]
}

// get reads an element of an Array or a character of a String, counted from 0,
// or a member of an Object.
func get(of, key Value) Value {
	if of.kind == Object {
		if key.kind != String {
			return undef
		}
		return of.Get(key.text)
	}
	i, ok := key.position()
	if !ok || i < 0 {
		return undef
	}
	switch of.kind {
	case Array:
		if elems := of.Elems(); i < len(elems) {
			return elems[i]
		}
	case String:
		for at := range of.text {
			if i--; i < 0 {
				_, size := utf8.DecodeRuneInString(of.text[at:])
				return text(of.text[at : at+size])
			}
		}
	}
	return undef
}

func abs(n Value) Value {
	if compare(n, integer(0)) < 0 {
		return negate(n)
	}
	return n
}

// maxPlaces is how many places trunc keeps at most.
const maxPlaces = 34

// truncTo is trunc of a number; its places must be a number itself.
func truncTo(_ *compiler, _ *Message, a []Value) Value {
	n := a[0].number()
	if n.kind == Undefined || !a[1].isNumber() {
		return undef
	}
	return trunc(n, a[1])
}

// trunc cuts a number off after some places.
func trunc(n, places Value) Value {
	if n.kind == Int {
		return n
	}
	p, ok := places.index(apd.RoundFloor)
	if !ok {
		p = compare(places, integer(0)) * maxPlaces
	}
	d, ok := n.decimal()
	if !ok {
		return undef
	}
	p = min(max(p, 0), maxPlaces)
	if d.Exponent < int32(-p) {
		c := context
		c.Rounding, c.Precision = apd.RoundDown, maxExponent+maxNumberText+maxPlaces
		if _, err := c.Quantize(d, d, int32(-p)); err != nil {
			return undef
		}
		if _, err := context.Round(d, d); err != nil {
			return undef
		}
	}
	if d.Exponent < 0 {
		if _, _ = d.Reduce(d); d.Exponent > 0 {
			return fromDecimal(d, Int)
		}
	}
	return fromDecimal(d, Decimal)
}

// chr returns the character of an ASCII code.
func chr(n Value) Value {
	code, ok := n.index(apd.RoundFloor)
	if !ok || code < 0 || code > 127 {
		return undef
	}
	return text(string(rune(code)))
}

// concat joins arrays when one of the arguments is one, else Strings when one
// is one (AWS IoT developer guide, "Functions").
func concat(c *compiler, m *Message, a []Value) Value {
	if len(a) == 1 {
		return a[0]
	}
	arrays, texts := false, false
	for _, v := range a {
		arrays = arrays || v.kind == Array
		texts = texts || v.kind == String
	}
	switch {
	case arrays:
		var elems []Value
		for _, v := range a {
			if v.kind == Array {
				elems = append(elems, v.Elems()...)
			} else {
				elems = append(elems, v)
			}
		}
		return array(elems)
	case texts:
		return c.join(m, a...)
	}
	return undef
}

// indexOf counts characters; -1 when there is none.
func indexOf(a, b string) Value {
	i := strings.Index(a, b)
	if i < 0 {
		return integer(-1)
	}
	return integer(int64(utf8.RuneCountInString(a[:i])))
}

// maxPad is how many spaces lpad and rpad add at most.
const maxPad = 1000

func pad(join func(s, spaces string) string) func(*compiler, *Message, []Value) Value {
	return func(c *compiler, _ *Message, a []Value) Value {
		s, ok := a[0].toText(c.reduce)
		n := a[1].number()
		if !ok || n.kind == Undefined {
			return undef
		}
		places := n.round(apd.RoundFloor)
		spaces := maxPad
		if compare(places, integer(maxPad)) < 0 {
			spaces, _ = places.index(apd.RoundFloor)
		}
		return text(join(s, strings.Repeat(" ", max(spaces, 0))))
	}
}

// replace replaces all occurrences of a plain text.
func replace(c *compiler, _ *Message, a []Value) Value {
	var s [3]string
	for i := range s {
		var ok bool
		if s[i], ok = a[i].toText(c.reduce); !ok {
			return undef
		}
	}
	if strings.Count(s[0], s[1]) > maxText/max(len(s[2]), 1) {
		return undef
	}
	return text(strings.ReplaceAll(s[0], s[1], s[2]))
}

// substring counts characters from 0; the end is exclusive and both are
// brought into the text.
func substring(c *compiler, _ *Message, a []Value) Value {
	s, ok := a[0].toText(c.reduce)
	if !ok {
		return undef
	}
	runes := []rune(s)
	bound := [2]int{0, len(runes)}
	for i, v := range a[1:] {
		n := v.number()
		if n.kind == Undefined {
			return undef
		}
		at, ok := n.index(apd.RoundDown)
		if !ok {
			at = compare(n, integer(0)) * len(runes)
		}
		bound[i] = min(max(at, 0), len(runes))
	}
	if bound[0] >= bound[1] {
		return text("")
	}
	return text(string(runes[bound[0]:bound[1]]))
}

// isBase64 says whether the argument names the only encoding there is.
func isBase64(v Value) bool { return v.kind == String && strings.EqualFold(v.text, "base64") }

func encode(c *compiler, _ *Message, a []Value) Value {
	s, ok := a[0].toText(c.reduce)
	if !ok || !isBase64(a[1]) {
		return undef
	}
	return text(base64.StdEncoding.EncodeToString([]byte(s)))
}

// decodeScheme tells decode(value, 'base64') from the decoding of Protobuf
// with a description in S3: decode(value, 'proto', bucket, key, file, type).
func decodeScheme(c *compiler, x *iotsql.Call) (callFn, error) {
	switch len(x.Args) {
	case 2:
		return decode, nil
	case 6:
		c.notOffer("decode(…, 'proto', …)")
	}
	return func(*compiler, *Message, []Value) Value { return undef }, nil
}

// decode gives the value of a JSON text, another text as a String, and Null
// for what is not base64 or not a text.
func decode(c *compiler, _ *Message, a []Value) Value {
	s, ok := a[0].toText(c.reduce)
	if !ok || !isBase64(a[1]) {
		return undef
	}
	out, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		out, err = base64.RawStdEncoding.DecodeString(s)
	}
	if err != nil || !utf8.Valid(out) {
		return null
	}
	if v, err := readJSON(string(out)); err == nil {
		return v
	}
	return text(string(out))
}
