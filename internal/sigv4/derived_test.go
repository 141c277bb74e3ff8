package sigv4

import (
	"bytes"
	"fmt"
	"testing"
)

func TestKeyCacheHoldsWhatItWasGivenAndNoMoreThanItsBound(t *testing.T) {
	var k keyCache
	for i := range 3 * maxDerived {
		of := derivation{"secret", "20261122", fmt.Sprint("region-", i), "iot"}
		if key := k.key(of); !bytes.Equal(key, signingKey(of.secret, of.day, of.region, of.service)) {
			t.Fatalf("another key for %s", of.region)
		}
		k.keep(of, []byte{byte(i)})
		if key := k.key(of); len(key) != 1 || key[0] != byte(i) {
			t.Fatalf("the key for %s was not kept", of.region)
		}
		if n := len(*k.keys.Load()); n > maxDerived {
			t.Fatalf("%d keys", n)
		}
	}
	if key := k.key(derivation{"other", "20261122", "region-191", "iot"}); len(key) != 32 {
		t.Error("another secret gets the key of the first")
	}
}
