package iot

import "time"

// roleAliasInput is the body of CreateRoleAlias and UpdateRoleAlias.
type roleAliasInput struct {
	Role     string `json:"roleArn"`
	Duration *int64 `json:"credentialDurationSeconds"`
	Tags     []tag  `json:"tags"`
}

// life is how long credentials are good; 0 when the request does not say.
func (in *roleAliasInput) life() (time.Duration, error) {
	const most = 1 << 20 // more than the registry allows, and no overflow
	switch {
	case in.Duration == nil:
		return 0, nil
	case *in.Duration < 1 || *in.Duration > most:
		return 0, badRequest("credentialDurationSeconds is %d: it must be from 900 to 43200", *in.Duration)
	}
	return time.Duration(*in.Duration) * time.Second, nil
}

// read reads the body.
func (in *roleAliasInput) read(c *call) (time.Duration, error) {
	if err := c.body(in); err != nil {
		return 0, err
	}
	return in.life()
}

func createRoleAlias(h *Handler, c *call) (any, error) {
	var in roleAliasInput
	life, err := in.read(c)
	if err != nil {
		return nil, err
	}
	if _, err := h.reg.CreateRoleAlias(c.label("roleAlias"), in.Role, life, tagMap(in.Tags)); err != nil {
		return nil, err
	}
	return h.roleAliasNamed(c), nil
}

// roleAliasNamed is the answer to who made or changed the role alias.
func (h *Handler) roleAliasNamed(c *call) any {
	name := c.label("roleAlias")
	return map[string]string{"roleAlias": name, "roleAliasArn": h.reg.ARN("rolealias/" + name)}
}

func describeRoleAlias(h *Handler, c *call) (any, error) {
	a, err := h.reg.RoleAlias(c.label("roleAlias"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"roleAliasDescription": map[string]any{
		"roleAlias": a.Name, "roleAliasArn": h.reg.ARN("rolealias/" + a.Name), "roleArn": a.Role, "owner": h.reg.Account(),
		"credentialDurationSeconds": int64(a.Duration / time.Second), "creationDate": epoch(a.Created), "lastModifiedDate": epoch(a.Modified),
	}}, nil
}

// listRoleAliases lists by name. The API reference does not say in which order
// when isAscendingOrder is left out.
func listRoleAliases(h *Handler, c *call) (any, error) {
	p, err := c.pageInOrder(true)
	if err != nil {
		return nil, err
	}
	names, next, err := h.reg.RoleAliases(p)
	return pageOf("roleAliases", append([]string{}, names...), nextMarker, next), err
}

func updateRoleAlias(h *Handler, c *call) (any, error) {
	var in roleAliasInput
	life, err := in.read(c)
	if err != nil {
		return nil, err
	}
	return h.roleAliasNamed(c), h.reg.UpdateRoleAlias(c.label("roleAlias"), in.Role, life)
}

func deleteRoleAlias(h *Handler, c *call) (any, error) {
	return nil, h.reg.DeleteRoleAlias(c.label("roleAlias"))
}
