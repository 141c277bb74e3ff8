package policy

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"regexp"
	"strings"
	"testing"
)

const testARN = "arn:aws:iot:us-east-1:000000000001"

// cases cuts a file of testdata at its "== title" lines.
func cases(t testing.TB, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for i, c := range strings.Split("\n"+string(data), "\n== ") {
		title, body, _ := strings.Cut(c, "\n")
		if i > 0 {
			out[title] = strings.ReplaceAll(body, "$A", testARN)
		}
	}
	return out
}

func TestDecisions(t *testing.T) {
	for _, file := range []string{"testdata/decisions.txt", "testdata/shapes.txt"} {
		for title, body := range cases(t, file) {
			t.Run(title, func(t *testing.T) { runCase(t, body) })
		}
	}
}

func runCase(t *testing.T, body string) {
	var docs []*Document
	var j Judge
	asked := 0
	lines := strings.Split(body, "\n")
	for i := 0; i < len(lines); i++ {
		word, rest, _ := strings.Cut(lines[i], " ")
		switch word {
		case "":
		case "policy":
			var text []string
			for i++; i < len(lines) && lines[i] != ""; i++ {
				text = append(text, lines[i])
			}
			d, err := Compile(rest, strings.Join(text, "\n"))
			if err != nil {
				t.Fatal(err)
			}
			docs = append(docs, d)
		case "subject":
			j = NewJudge(subject(rest), testARN+":", docs)
		default:
			asked++
			ask(t, j, word, rest)
		}
	}
	if asked == 0 {
		t.Fatal("the case asks nothing")
	}
}

func ask(t *testing.T, j Judge, want, question string) {
	t.Helper()
	question, reason, _ := strings.Cut(question, " : ")
	action, resource, _ := strings.Cut(question, " ")
	d := j.Decide(action, resource)
	got := "deny"
	if d.Allowed {
		got = "allow"
	} else if d.Policy != "" {
		got = "never"
	}
	if got != want || !strings.Contains(d.Reason, reason) || d.Reason == "" {
		t.Errorf("%s %s: got %s (%s), want %s (%s)", action, resource, got, d.Reason, want, reason)
	}
}

func subject(text string) *Subject {
	s := &Subject{}
	attributes, kind := map[string]string{}, ""
	for _, f := range strings.Fields(text) {
		k, v, _ := strings.Cut(f, "=")
		switch k {
		case "client":
			s.ClientID = v
		case "thing":
			s.Thing = &Thing{Name: v, Attributes: attributes}
		case "type":
			kind = v
		case "ip":
			s.SourceIP = v
		case "domain":
			s.DomainName = v
		case "persistent":
			s.PersistentConnect = true
		case "will":
			s.LastWill, s.LastWillTopic = true, v
		case "cert":
			s.CertificateID, s.Certificate = "abcdef", testCertificate()
		default:
			attributes[k] = v
		}
	}
	if s.Thing != nil {
		s.Thing.TypeName = kind
	}
	return s
}

func testCertificate() *x509.Certificate {
	ou := asn1.ObjectIdentifier{2, 5, 4, 11}
	// dNSName dev.example, iPAddress 192.0.2.9
	san := append([]byte{0x30, 19, 0x82, 11}, "dev.example"...)
	san = append(san, 0x87, 4, 192, 0, 2, 9)
	return &x509.Certificate{
		SerialNumber: big.NewInt(77),
		Subject: pkix.Name{Names: []pkix.AttributeTypeAndValue{
			{Type: ou, Value: "first"}, {Type: ou, Value: "second"},
			{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "device-7"},
		}},
		Issuer:     pkix.Name{Names: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 6}, Value: "SE"}}},
		Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}},
	}
}

func TestMalformed(t *testing.T) {
	for want, text := range cases(t, "testdata/malformed.txt") {
		_, err := Compile("p", strings.TrimSuffix(text, "\n"))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestDocumentSize(t *testing.T) {
	doc := func(fill string) string {
		return `{"Version":"2012-10-17","Id":"` + fill + `","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
	}
	room := MaxDocument - len(doc(""))
	if _, err := Compile("p", doc(strings.Repeat("x", room))+strings.Repeat("\n ", 500)); err != nil {
		t.Error(err)
	}
	if _, err := Compile("p", doc(strings.Repeat("x", room+1))); err == nil || !strings.Contains(err.Error(), "2049 characters") {
		t.Errorf("got %v", err)
	}
	if _, err := Compile("p", doc("")+strings.Repeat(" ", maxText)); err == nil {
		t.Error("a document of 400 kB of white space was taken")
	}
}

func TestKnownActionsAgree(t *testing.T) {
	for _, name := range []string{"Connect", "Publish", "RetainPublish", "Subscribe", "Receive", "GetRetainedMessage", "ListRetainedMessages",
		"GetThingShadow", "UpdateThingShadow", "DeleteThingShadow", "ListNamedShadowsForThing"} {
		bit := actionBit("iot:" + name)
		i := -1
		for j, k := range knownActions {
			if bit == 1<<j && k == strings.ToLower("iot:"+name) {
				i = j
			}
		}
		if i < 0 {
			t.Errorf("iot:%s has bit %b, which is not its place in knownActions", name, bit)
		}
	}
}

func TestLongValueIsNotPutIn(t *testing.T) {
	d, err := Compile("p", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:r:1:client/${iot:ClientId}"}}`)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]bool{maxValue: true, maxValue + 1: false} {
		id := strings.Repeat("x", n)
		got := NewJudge(&Subject{ClientID: id}, testARN, []*Document{d}).Decide("iot:Connect", "arn:aws:iot:r:1:client/"+id)
		if got.Allowed != want {
			t.Errorf("a client id of %d bytes: %+v", n, got)
		}
		if len(got.Reason) > 1500 {
			t.Errorf("the reason has %d bytes", len(got.Reason))
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, file := range []string{"testdata/decisions.txt", "testdata/shapes.txt", "testdata/malformed.txt"} {
		for _, body := range cases(f, file) {
			for _, part := range strings.Split(body, "\n\n") {
				if i := strings.IndexByte(part, '{'); i >= 0 {
					f.Add(part[i:])
				}
			}
		}
	}
	s := &Subject{ClientID: "c*", SourceIP: "1.2.3.4", Certificate: testCertificate(), LastWill: true, LastWillTopic: "w", Thing: &Thing{Name: "c"}}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Compile("p", text)
		var syntax *SyntaxError
		if err != nil {
			if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1 {
				t.Fatalf("%v has no place", err)
			}
			return
		}
		j := NewJudge(s, testARN+":", []*Document{d})
		for _, a := range []string{"iot:Connect", "iot:Publish", "iot:x"} {
			got := j.Decide(a, testARN+":topic/c*")
			if got.Reason == "" {
				t.Fatal("a decision without reason")
			}
			if e := Explain(s, testARN+":", []*Document{d}, a, testARN+":topic/c*"); e.Decision != got || e.Policy != "" && e.Statement == nil {
				t.Fatalf("the judge says %+v, the explanation %+v", got, e)
			} else if e.Statement != nil && !json.Valid([]byte(e.Statement.Source)) {
				t.Fatalf("the statement is %q", e.Statement.Source)
			}
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("*?*?*", "ab")
	f.Add("x${*}?*", "x*ä")
	f.Add("*a?*?b", "aaaaab")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		p, err := parseTemplate(pattern, true)
		if err != nil || p.vars {
			return
		}
		text = strings.ToValidUTF8(text, "x") // ARNs are
		for _, part := range p.parts {
			if strings.ToValidUTF8(part.text, "") != part.text {
				return
			}
		}
		m := compileParts(p.parts)
		expr := "(?s)^"
		for _, part := range p.parts {
			switch part.kind {
			case anyRun:
				expr += ".*"
			case anyOne:
				expr += "."
			default:
				expr += regexp.QuoteMeta(part.text)
			}
		}
		re, err := regexp.Compile(expr + "$")
		if err != nil {
			return
		}
		if got, want := m.match(text), re.MatchString(text); got != want {
			t.Fatalf("%q on %q: got %v, want %v", pattern, text, got, want)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	d, err := Compile("p", strings.ReplaceAll(`{"Version":"2012-10-17","Statement":[
	 {"Effect":"Allow","Action":"iot:Connect","Resource":"$A:client/${iot:Connection.Thing.ThingName}"},
	 {"Effect":"Allow","Action":["iot:Subscribe"],"Resource":["$A:topicfilter/cmd/*"]},
	 {"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":["$A:topic/sensors/*/air","$A:topic/x"]}]}`, "$A", testARN))
	if err != nil {
		b.Fatal(err)
	}
	s := &Subject{ClientID: "pi", Thing: &Thing{Name: "pi"}}
	j := NewJudge(s, testARN+":", []*Document{d})
	b.Run("Decide", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			j.Decide("iot:Publish", testARN+":topic/sensors/17/air")
		}
	})
	b.Run("NewJudge", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewJudge(s, testARN+":", []*Document{d})
		}
	})
}

// BenchmarkManyStatements decides with what a certificate can have at most: ten
// documents, here of ten statements, of which the last one fits. Publish is
// what the broker pays for the first message on a topic; afterwards it
// remembers the answer until the registry's epoch changes (package broker).
func BenchmarkManyStatements(b *testing.B) {
	var docs []*Document
	for i := range 10 {
		var statements []string
		for k := range 10 {
			statements = append(statements, fmt.Sprintf(`{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"%s:topic/s%d/${iot:ClientId}/*/d%d"}`, testARN, i, k))
		}
		d, err := Compile(fmt.Sprint("p", i), `{"Version":"2012-10-17","Statement":[`+strings.Join(statements, ",")+`]}`)
		if err != nil {
			b.Fatal(err)
		}
		docs = append(docs, d)
	}
	s := &Subject{ClientID: "pi"}
	j := NewJudge(s, testARN+":", docs)
	topic := testARN + ":topic/s9/pi/x/d9"
	b.Run("Publish", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !j.Decide("iot:Publish", topic).Allowed {
				b.Fatal("denied")
			}
		}
	})
	b.Run("Remembered", func(b *testing.B) {
		b.ReportAllocs()
		known := map[string]Decision{topic: j.Decide("iot:Publish", topic)}
		for b.Loop() {
			if !known[topic].Allowed {
				b.Fatal("denied")
			}
		}
	})
	b.Run("NewJudge", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewJudge(s, testARN+":", docs)
		}
	})
}
