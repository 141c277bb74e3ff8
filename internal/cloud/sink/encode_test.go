package sink

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

var sampleHTTP = []*HTTP{
	{URL: "https://example.com/a?b=c", Body: []byte(`{"a":1}`)},
	{
		URL: "http://[::1]:8080", Headers: []Header{{"Content-Type", "text/plain"}, {"X-Empty", ""}},
		SigV4: &SigV4{"eu-west-1", "execute-api"}, Body: []byte{0, 255}, Binary: true,
	},
}

func TestEncodingsOfVersion1(t *testing.T) {
	h := &HTTP{URL: "http://h", Headers: []Header{{"k", "v"}}, SigV4: &SigV4{"r", "s"}, Body: []byte("body"), Binary: true}
	for want, got := range map[string][]byte{
		"\x01\x03\x08http://h\x01\x01k\x01v\x01r\x01sbody": h.Encode(),
		"\x01\x01fpayload":       (&Lambda{"f", []byte("payload")}).Encode(),
		"\x01\x03bkt\x03a/bdata": (&S3{"bkt", "a/b", []byte("data")}).Encode(),
	} {
		if string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestHTTPRoundTrip(t *testing.T) {
	for _, h := range sampleHTTP {
		got, err := DecodeHTTP(h.Encode())
		if err != nil || !reflect.DeepEqual(got, h) {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

func TestHTTPCheck(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for want, h := range map[string]*HTTP{
		"not an http":      {URL: "ftp://example.com"},
		"names no host":    {URL: "http:///path"},
		"user name":        {URL: "http://me:secret@example.com"},
		"not a URL":        {URL: "http://a b/"},
		"3011 bytes":       {URL: "http://h.de" + long},
		"fragment":         {URL: "http://h/#a"},
		"101 headers":      {URL: "http://h", Headers: make([]Header, 101)},
		"is not one":       {URL: "http://h", Headers: []Header{{"a b", ""}}},
		"name of 3000":     {URL: "http://h", Headers: []Header{{long, ""}}},
		"header Host":      {URL: "http://h", Headers: []Header{{"host", "x"}}},
		"Transfer-Enc":     {URL: "http://h", Headers: []Header{{"transfer-encoding", "chunked"}}},
		"line break":       {URL: "http://h", Headers: []Header{{"a", "x\r\nb: c"}}},
		"headers have":     {URL: "http://h", Headers: []Header{{"a", long}, {"b", long}, {"c", long}, {"d", long}, {"e", long}, {"f", long}}},
		"signingRegion":    {URL: "http://h", SigV4: &SigV4{Service: "s"}},
		"X-Mote-Message-I": {URL: "http://h", Headers: []Header{{IDHeader, "x"}}},
	} {
		err := h.Check()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want it to speak of %q", h.URL, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells a password: %v", err)
		}
	}
}

func TestHTTPLaneHasNoQuery(t *testing.T) {
	if got := (&HTTP{URL: "https://h/p?token=secret"}).Lane(); got != "https://h/p" {
		t.Errorf("got %q", got)
	}
}

func FuzzDecodeHTTP(f *testing.F) {
	for _, h := range sampleHTTP {
		f.Add(h.Encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := DecodeHTTP(data)
		if err != nil {
			return
		}
		again, err := DecodeHTTP(h.Encode())
		if err != nil || !reflect.DeepEqual(h, again) {
			t.Errorf("%+v came back as %+v, %v", h, again, err)
		}
	})
}

func TestFunctionName(t *testing.T) {
	for in, want := range map[string][2]string{
		"dust":      {"dust", ""},
		"dust:prod": {"dust", "prod"},
		"arn:aws:lambda:us-east-1:123456789012:function:dust":         {"dust", ""},
		"arn:aws-cn:lambda:us-east-1:123456789012:function:dust:$LAT": {"dust", "$LAT"},
		"arn:aws:lambda:us-east-1:123456789012:layer:dust":            {},
		"arn:aws:s3:::bucket": {},
		"../x":                {},
	} {
		if name, version := functionName(in); name != want[0] || version != want[1] {
			t.Errorf("%s: got %q %q", in, name, version)
		}
	}
}

func FuzzDecodeLambda(f *testing.F) {
	f.Add((&Lambda{"dust", []byte("x")}).Encode())
	f.Add((&Lambda{"arn:aws:lambda:us-east-1:123456789012:function:dust:1", nil}).Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := DecodeLambda(data)
		if err != nil {
			return
		}
		again, err := DecodeLambda(l.Encode())
		if err != nil || l.Function != again.Function || !bytes.Equal(l.Payload, again.Payload) {
			t.Errorf("%+v came back as %+v, %v", l, again, err)
		}
	})
}

func TestS3Check(t *testing.T) {
	for _, key := range []string{"a", "a/b.json", "ä/ö", "..a", "a..", ".hidden", strings.Repeat("a/", 500) + "a"} {
		if err := (&S3{Bucket: "my-bucket.1", Key: key}).Check(); err != nil {
			t.Errorf("%.40q: %v", key, err)
		}
	}
	for _, key := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "..", ".", "a\x00b", "\xff", strings.Repeat("a", 256), strings.Repeat("a/", 512) + "a"} {
		if err := (&S3{Bucket: "my-bucket", Key: key}).Check(); err == nil {
			t.Errorf("%.40q was accepted", key)
		}
	}
	for _, bucket := range []string{"", "ab", strings.Repeat("a", 64), "..", "a..b", ".tmp", "abc.", "-abc", "Abc", "a/b", "a\\b", "192.168.0.1", "a b c"} {
		if err := (&S3{Bucket: bucket, Key: "a"}).Check(); err == nil {
			t.Errorf("bucket %q was accepted", bucket)
		}
	}
}

func FuzzDecodeS3(f *testing.F) {
	f.Add((&S3{"bkt", "a/b", []byte("x")}).Encode())
	f.Add((&S3{"bkt", "../../etc/passwd", nil}).Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := DecodeS3(data)
		if err != nil {
			return
		}
		again, err := DecodeS3(s.Encode())
		if err != nil || s.Bucket != again.Bucket || s.Key != again.Key || !bytes.Equal(s.Body, again.Body) {
			t.Errorf("%+v came back as %+v, %v", s, again, err)
		}
	})
}
