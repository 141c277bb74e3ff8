package sink

import (
	"strings"
	"testing"
)

// TestSCRAMIsAsInTheStandard is the example of RFC 7677, section 3.
func TestSCRAMIsAsInTheStandard(t *testing.T) {
	s, err := newSCRAM("SCRAM-SHA-256", "user", "pencil")
	if err != nil {
		t.Fatal(err)
	}
	talk := &scramTalk{scram: s, nonce: "rOprNGfwEbeRWgbNEkqO", bare: "n=user,r=rOprNGfwEbeRWgbNEkqO"}
	const first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	done, answer, err := talk.Next(t.Context(), []byte(first))
	const want = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	if done || err != nil || string(answer) != want {
		t.Fatalf("%v %s %v\nwant %s", done, answer, err, want)
	}
	if done, _, err := talk.Next(t.Context(), []byte("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")); !done || err != nil {
		t.Errorf("the server's proof: %v %v", done, err)
	}
}

func TestSCRAMTrustsNoServer(t *testing.T) {
	for first, want := range map[string]string{
		"r=other,s=W22Z,i=4096":        "nonce",
		"r=mine,s=W22Z,i=4096":         "nonce",
		"r=mineyours,s=,i=4096":        "salt",
		"r=mineyours,s=??,i=4096":      "salt",
		"r=mineyours,s=W22Z,i=1":       "iterations",
		"r=mineyours,s=W22Z,i=1e9":     "iterations",
		"r=mineyours,s=W22Z,i=9999999": "iterations",
		"":                             "nonce",
	} {
		s, _ := newSCRAM("SCRAM-SHA-512", "user", "pencil")
		_, _, err := (&scramTalk{scram: s, nonce: "mine", bare: "n=user,r=mine"}).Next(t.Context(), []byte(first))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", first, err, want)
		}
	}
	s, _ := newSCRAM("SCRAM-SHA-512", "user", "pencil")
	talk := &scramTalk{scram: s, nonce: "mine", bare: "n=user,r=mine"}
	if _, _, err := talk.Next(t.Context(), []byte("r=mineyours,s=W22Z,i=4096")); err != nil {
		t.Fatal(err)
	}
	for last, want := range map[string]string{"v=W22Z": "does not prove", "": "does not prove", "e=invalid-proof": "invalid-proof"} {
		if done, _, err := talk.Next(t.Context(), []byte(last)); done || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v %v, want %q", last, done, err, want)
		}
	}
	if _, err := newSCRAM("SCRAM-SHA-512", "user", "pässword"); err == nil {
		t.Error("a password beyond ASCII would be sent unprepared")
	}
}
