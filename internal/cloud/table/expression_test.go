package table

import (
	"strings"
	"testing"
)

func conditionOf(src string, names map[string]string, values map[string]Value) (*node, error) {
	s := newScope(names, values)
	n, err := parseChecked("ConditionExpression", src, s)
	if err != nil {
		return nil, err
	}
	return n, s.unused()
}

func TestConditions(t *testing.T) {
	item := everyKind(t)
	item["dust"], item["same"], item["big"] = number(t, "35.2"), number(t, "35.2"), number(t, "12345678901234567890123456789012345678")
	values := map[string]Value{
		":n": number(t, "35.20"), ":low": number(t, "9"), ":high": number(t, "100"), ":s": String("35.2"), ":z": String("zwei"), ":a": String("a"), ":one": number(t, "1"),
		":map": Map(Item{"b": Null(), "a": Map(Item{})}), ":ss": {Kind: SS, Set: []string{"", "a"}}, ":N": String("N"), ":bin": Binary([]byte{0, 1}), ":yes": Bool(true), ":null": Null(),
		":big": number(t, "12345678901234567890123456789012345679"), ":neg": number(t, "-0.5"),
	}
	for src, want := range map[string]bool{
		"dust = :n": true, "dust <> :n": false, "dust = same": true, "dust = :s": false, "dust <> :s": true, "dust < :s": false, "dust >= :s": false,
		"dust > :low": true, "dust < :high": true, "dust <= same": true, ":low < dust": true, ":high < dust": false, "big < :big": true, "big = :big": false,
		"gone = :n": false, "gone <> :n": true, "gone < :n": false, "NOT gone = :n": true, "gone = gone2": false,
		"dust BETWEEN :low AND :high": true, "dust between :n and :n": true, "NOT dust BETWEEN :low AND :high": false, "s BETWEEN :low AND :high": false,
		"dust IN (:low, :high)": false, "dust IN (:low, :n)": true, "dust In (same)": true, "gone IN (gone2)": false,
		"attribute_exists(dust)": true, "attribute_exists(gone)": false, "attribute_not_exists(gone)": true, "attribute_exists(doc.a)": true, "attribute_exists(doc.z)": false,
		"attribute_exists(#l[2])": true, "attribute_exists(#l[3])": false, "attribute_exists(#l.a)": false, "attribute_exists(doc[0])": false, "#l[0] = :one": true,
		"attribute_type(dust, :N)": true, "attribute_type(s, :N)": false, "attribute_type(gone, :N)": false,
		"begins_with(s, :z)": true, "begins_with(:z, s)": false, "begins_with(b, :bin)": true, "begins_with(dust, :z)": false,
		"contains(s, :z)": true, "contains(ss, :a)": true, "contains(ss, :z)": false, "contains(ns, :neg)": true, "contains(#l, :one)": true, "contains(b, :bin)": true, "contains(dust, :one)": false,
		"size(s) > :one": true, "size(#l) BETWEEN :one AND :low": true, "size(dust) > :one": false, "size(gone) = size(dust)": false, "size(b) = size(#l)": true,
		"doc = :map": true, "ss = :ss": true, "yes = :yes": true, "nope = :yes": false, "#null = :null": true,
		"dust = :n AND s = :s": false, "dust = :n OR s = :s": true, "dust = :s OR dust = :n AND dust = :low": false, "(dust = :n OR dust = :s) AND NOT dust = :low": true,
		"NOT NOT dust = :n": true, "(dust) = (:n)": true, "dust=:n and(s<>:s)": true,
	} {
		names := map[string]string{}
		if strings.Contains(src, "#l") {
			names["#l"] = "list"
		}
		if strings.Contains(src, "#null") {
			names["#null"] = "null"
		}
		used := map[string]Value{}
		for key, v := range values {
			for _, tok := range lex(src) {
				if tok.text == key {
					used[key] = v
				}
			}
		}
		n, err := conditionOf(src, names, used)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got := n.holds(item); got != want {
			t.Errorf("%s is %v", src, got)
		}
	}
}

func TestConditionRefusals(t *testing.T) {
	values := map[string]Value{":s": String("x"), ":n": number(t, "1"), ":b": Bool(true), ":type": String("STRING")}
	const syntax = "Syntax error; token: "
	for src, want := range map[string]string{
		"   ": "The expression can not be empty;", "a": syntax + `"<EOF>", near: "a"`, "a AND b": syntax + `"AND", near: "a AND b"`, "a = b = c": syntax + `"=", near: "b = c"`,
		"(a = b) = c": syntax + `"=", near: ") = c"`, "a = ": syntax + `"<EOF>", near: "="`, "= a": syntax + `"=", near: "= a"`, "a = b c": syntax + `"c", near: "b c"`,
		"a BETWEEN b": syntax + `"<EOF>", near: "b"`, "a IN b": syntax + `"b", near: "IN b"`, "a IN ()": syntax + `")", near: "()"`, "f()": syntax + `")", near: "()"`,
		"a.": syntax + `"<EOF>", near: "."`, "a[b] = c": syntax + `"b", near: "[b]"`, "a[-1] = b": syntax + `"-", near: "[-1"`, "NOT a": syntax + `"<EOF>", near: "a"`,
		"a = 4": syntax + `"4", near: "= 4"`, "a = 'x'": syntax + `"'", near: "= 'x"`, "a ! b": syntax + `"!", near: "a ! b"`, "ü = a": syntax + `"ü", near: "ü ="`, "# = a": syntax + `"#", near: "# ="`,
		"a = \xff": syntax + "\"\uFFFD\", near: \"= \uFFFD\"", "(a = b": syntax + `"<EOF>", near: "b"`, "a = b)": syntax + `")", near: "b)"`,
		"a[99999999999] = b": "List index is not within the allowable range; index: [99999999999]",
		"status = b":         "Attribute name is a reserved keyword; reserved keyword: status", "a.Name = b": "Attribute name is a reserved keyword; reserved keyword: Name",
		"SIZE(a) = b": "Invalid function name; function: SIZE", "if_not_exists(a, b) = c": "The function is not allowed in a condition expression; function: if_not_exists",
		"a = :gone": "An expression attribute value used in expression is not defined; attribute value: :gone",
		"a < :b":    "Incorrect operand type for operator or function; operator or function: <, operand type: BOOL", "size(:n) = a": "Incorrect operand type for operator or function; operator or function: size, operand type: N",
		"attribute_exists(:s)":              "Operator or function requires a document path; operator or function: attribute_exists",
		"attribute_type(a, :type)":          "Invalid attribute type name found; type: STRING, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}",
		"a BETWEEN :s AND :n":               "The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: AttributeValue: {S:x}, upper bound operand: AttributeValue: {N:1}",
		"a = a":                             "The first operand must be distinct from the remaining operands for this operator or function; operator: =, first operand: [a]",
		"a IN (b, c.d, a)":                  "The first operand must be distinct from the remaining operands for this operator or function; operator: IN, first operand: [a]",
		"a[0] BETWEEN b AND a[0]":           "The first operand must be distinct from the remaining operands for this operator or function; operator: BETWEEN, first operand: [a, [0]]",
		"((a)) = b":                         "The expression has redundant parentheses;",
		strings.Repeat("a", 4097):           "Expression size has exceeded the maximum allowed size; expression size: 4097",
		strings.Repeat("(", 4000):           syntax + `"<EOF>", near: "("`,
		strings.Repeat("NOT ", 1000):        syntax + `"<EOF>", near: "NOT"`,
		"a.b" + dots(31) + " = c":           "The document path has too many nesting levels; nesting levels: 33",
		"a=b" + repeat(" OR a=b", 150):      "The expression contains too many operators; operator count: 301",
		"a IN (b" + repeat(",b", 100) + ")": "The IN operator is provided with too many operands; number of operands: 101",
	} {
		used := map[string]Value{}
		for _, tok := range lex(src) {
			if v, ok := values[tok.text]; ok {
				used[tok.text] = v
			}
		}
		_, err := conditionOf(src, nil, used)
		if got := strings.TrimPrefix(message(err), "Invalid ConditionExpression: "); got != want {
			t.Errorf("%.60s\n got %s\nwant %s", src, got, want)
		}
	}
}

func repeat(s string, n int) string { return strings.Repeat(s, n) }

func dots(n int) string { return strings.Repeat(".b", n) }

func TestProjection(t *testing.T) {
	item := Item{"a": String("x"), "list": List(number(t, "0"), Map(Item{"k": Null(), "z": Null()}), number(t, "2")), "doc": Map(Item{"x": Map(Item{"y": Bool(true)}), "w": Null()})}
	for src, want := range map[string]Item{
		"a": {"a": item["a"]}, "gone": {}, "a, gone, doc.gone, a2[0]": {"a": item["a"]}, "doc.x.y": {"doc": Map(Item{"x": Map(Item{"y": Bool(true)})})},
		"list[2], list[0], list[9]": {"list": List(number(t, "0"), number(t, "2"))}, "list[1].k": {"list": List(Map(Item{"k": Null()}))}, "doc.x, doc.w": {"doc": item["doc"]}, "a.b": {},
	} {
		src = strings.ReplaceAll(src, "list", "#l")
		pr, err := parseProjection(src, newScope(map[string]string{"#l": "list"}, nil))
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		x, y := Map(pr.item(item)), Map(want)
		if !equal(&x, &y) {
			t.Errorf("%s gives %v, want %v", src, x, y)
		}
	}
}

func FuzzCondition(f *testing.F) {
	for _, seed := range []string{
		"dust = :n AND (begins_with(#l, :s) OR NOT size(doc.a[0]) BETWEEN :n AND :n)", "a IN (b, :s)", "attribute_type(dust, :s)", "((a))=b", "NOT NOT a<>b", "contains(list[1].x, :s)", "a = \xff", "time = :n", "f(",
	} {
		f.Add(seed)
	}
	values := map[string]Value{":n": {Kind: N, Str: "1"}, ":s": String("S")}
	names := map[string]string{"#l": "list"}
	item := everyKind(f)
	f.Fuzz(func(t *testing.T, src string) {
		s := newScope(names, values)
		if n, err := parseChecked("FilterExpression", src, s); err == nil {
			n.holds(item)
			n.holds(nil)
			if terms, err := keyTerms(n); err == nil && airTable.checkTerms(terms, nil) == nil {
				airTable.keySpan(terms)
			}
		} else if message(err) == "" {
			t.Fatalf("%q gives %v", src, err)
		}
		if pr, err := parseProjection(src, s); err == nil {
			pr.item(item)
		}
	})
}
