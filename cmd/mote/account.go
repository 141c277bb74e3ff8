//go:build !gateway

package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"strings"

	"mote/internal/cloud"
)

type accountCmd struct {
	Add      accountAddCmd      `cmd:"" help:"Make an account; a password that it is not given is made up and printed."`
	Remove   accountRemoveCmd   `cmd:"" help:"Remove an account and end its connections."`
	List     accountListCmd     `cmd:"" help:"Print the accounts and their policies."`
	Password accountPasswordCmd `cmd:"" help:"Give an account another password and end its connections."`
}

// passwordFlag says where a password comes from.
type passwordFlag struct {
	Stdin bool `name:"stdin" help:"Read the password from standard input, one line."`
}

// password returns the password, and whether it was made up.
func (f passwordFlag) password(s *session) (text string, made bool, err error) {
	if !f.Stdin {
		return rand.Text(), true, nil
	}
	data, err := io.ReadAll(io.LimitReader(s.stdin, 4096))
	return strings.TrimRight(string(data), "\r\n"), false, err
}

type accountAddCmd struct {
	Name string `arg:"" help:"Name, the MQTT user name."`
	dataFlag
	passwordFlag
	Policy []string `help:"Name of an AWS IoT policy that says what the account may do; at least one." placeholder:"NAME"`
}

// Run makes the account.
func (c accountAddCmd) Run(s *session) error {
	if len(c.Policy) == 0 {
		return usagef("say what the account may do: --policy NAME, of a policy made with aws iot create-policy or [[policy]]")
	}
	return changeAccount(s, c.Data, c.passwordFlag, cloud.AccountRequest{Do: "add", Name: c.Name, Policies: c.Policy})
}

type accountPasswordCmd struct {
	Name string `arg:"" help:"Name of the account."`
	dataFlag
	passwordFlag
}

// Run sets the password.
func (c accountPasswordCmd) Run(s *session) error {
	return changeAccount(s, c.Data, c.passwordFlag, cloud.AccountRequest{Do: "password", Name: c.Name})
}

func changeAccount(s *session, data string, f passwordFlag, r cloud.AccountRequest) error {
	password, made, err := f.password(s)
	if err != nil {
		return err
	}
	r.Password = password
	if _, err := cloud.AskAccounts(s.ctx, data, r); err != nil {
		return err
	}
	if made {
		_, err = fmt.Fprintln(s.stdout, password)
	}
	return err
}

type accountRemoveCmd struct {
	Name string `arg:"" help:"Name of the account."`
	dataFlag
}

// Run removes the account.
func (c accountRemoveCmd) Run(s *session) error {
	_, err := cloud.AskAccounts(s.ctx, c.Data, cloud.AccountRequest{Do: "remove", Name: c.Name})
	return err
}

type accountListCmd struct{ dataFlag }

// Run prints the accounts.
func (c accountListCmd) Run(s *session) error {
	list, err := cloud.AskAccounts(s.ctx, c.Data, cloud.AccountRequest{Do: "list"})
	if err != nil {
		return err
	}
	for _, a := range list {
		if _, err := fmt.Fprintf(s.stdout, "%s\t%s\n", a.Name, strings.Join(a.Policies, ",")); err != nil {
			return err
		}
	}
	return nil
}
