package iotsql

// Walk calls f for x and for every expression inside it, from left to right, an
// expression before its parts. Parts that are not there are left out.
func Walk(x Expr, f func(Expr)) {
	if x == nil {
		return
	}
	f(x)
	walkParts(x, f)
}

func walkParts(x Expr, f func(Expr)) {
	switch x := x.(type) {
	case *Field:
		Walk(x.X, f)
	case *Index:
		Walk(x.X, f)
		Walk(x.I, f)
	case *Unary:
		Walk(x.X, f)
	case *Binary:
		Walk(x.L, f)
		Walk(x.R, f)
	case *Call:
		for _, arg := range x.Args {
			Walk(arg, f)
		}
	case *Cast:
		Walk(x.X, f)
	case *Case:
		Walk(x.X, f)
		for _, when := range x.Whens {
			Walk(when.If, f)
			Walk(when.Then, f)
		}
		Walk(x.Else, f)
	case *Object:
		for _, member := range x.Members {
			Walk(member.X, f)
		}
	case *Array:
		for _, elem := range x.Elems {
			Walk(elem, f)
		}
	case *Nested:
		x.Select.walk(f)
		Walk(x.From, f)
		Walk(x.Where, f)
	}
}

func (s Selection) walk(f func(Expr)) {
	Walk(s.Value, f)
	for _, it := range s.Items {
		Walk(it.X, f)
	}
}

// Walk calls f for every expression of the statement, in the order of its text.
func (st *Statement) Walk(f func(Expr)) {
	for _, a := range st.Set {
		Walk(a.X, f)
	}
	st.Select.walk(f)
	Walk(st.Where, f)
}
