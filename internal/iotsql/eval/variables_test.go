package eval

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTemplateSeesVariables(t *testing.T) {
	p := compileFor(t, `SET @c = (f - 32) * 5 / 9, @o = {'k': id} SELECT @c AS celsius FROM 'a'`)
	other := compileFor(t, `SET @c = 'other' SELECT * FROM 'a'`)
	m := Message{Payload: []byte(`{"f":50,"id":"x"}`), Time: time.UnixMilli(1)}
	for src, want := range map[string]string{"${@c}": "10", "t-${@c}C/${id}": "t-10C/x", "${@o.k}": "x", "${@o}": `{"k":"x"}`, "plain": "plain"} {
		tpl, err := p.CompileTemplate(src)
		if err != nil {
			t.Fatal(err)
		}
		if got := tpl.Text(&m); got != want { // no Run before it
			t.Errorf("%s: %q, want %q", src, got, want)
		}
		other.Run(&m)
		if got := tpl.Text(&m); got != want {
			t.Errorf("%s after another program: %q, want %q", src, got, want)
		}
	}
	_, err := p.CompileTemplate("x/${@d}")
	if want := "line 1, column 5: @d is not set before it is used here"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := templateAlone("${@c}", p.version); err == nil {
		t.Error("a template without a statement sees a variable")
	}
}

// A variable is computed once for each run, so all places see one value.
func TestVariableIsComputedOnce(t *testing.T) {
	p := compileFor(t, `SET @id = newuuid() SELECT @id AS a, @id AS b FROM 'a' WHERE @id = @id`)
	tpl, err := p.CompileTemplate("${@id}")
	if err != nil {
		t.Fatal(err)
	}
	m := Message{Payload: []byte("{}")}
	r, _ := p.Run(&m)
	a, b := r.Value().Get("a").Text(), r.Value().Get("b").Text()
	if a == "" || a != b || tpl.Text(&m) != a {
		t.Errorf("%s, %s, %s", a, b, tpl.Text(&m))
	}
}

func TestVariablesAreBounded(t *testing.T) {
	p := compileFor(t, `SET @a = x, @b = x SELECT @a AS a, @b AS b FROM 'a'`)
	tpl, err := p.CompileTemplate("${@b}")
	if err != nil {
		t.Fatal(err)
	}
	for size, fits := range map[int]bool{1: true, maxVariables/2 - 2: true, maxVariables/2 - 1: false, maxVariables - 100: false} {
		x := strings.Repeat("x", size)
		m := Message{Payload: []byte(`{"x":"` + x + `"}`)}
		r, fired := p.Run(&m)
		if !fired || (r.Err() == nil) != fits {
			t.Errorf("2 × %d bytes: %v", size, r.Err())
		}
		if got := tpl.Text(&m); fits != (got == x) {
			t.Errorf("2 × %d bytes: a template of %d bytes", size, len(got))
		}
	}
}

func TestNotOffered(t *testing.T) {
	p := compileFor(t, `SET @s = get_secret('id', 'SecretString', 'arn') SELECT AWS_lambda('arn', *) AS y, aws_lambda('b', *), @s FROM 'a'`)
	if got := p.NotOffered(); !slices.Equal(got, []string{"get_secret", "aws_lambda"}) {
		t.Errorf("%q", got)
	}
	tpl, err := p.CompileTemplate("${machinelearning_predict('m', 'arn', *)}")
	if err != nil {
		t.Fatal(err)
	}
	if got := tpl.NotOffered(); !slices.Equal(got, []string{"machinelearning_predict"}) {
		t.Errorf("%q", got)
	}
}
