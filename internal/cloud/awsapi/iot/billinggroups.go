package iot

// billingProperties are BillingGroupProperties of the API.
type billingProperties struct {
	Description string `json:"billingGroupDescription,omitempty"`
}

func createBillingGroup(h *Handler, c *call) (any, error) {
	var in struct {
		Properties billingProperties `json:"billingGroupProperties"`
		Tags       []tag             `json:"tags"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	g, err := h.reg.CreateBillingGroup(c.label("billingGroupName"), in.Properties.Description, tagMap(in.Tags))
	if err != nil {
		return nil, err
	}
	return map[string]string{"billingGroupName": g.Name, "billingGroupArn": h.reg.ARN(billingGroupARN + g.Name), "billingGroupId": g.ID}, nil
}

func describeBillingGroup(h *Handler, c *call) (any, error) {
	g, err := h.reg.BillingGroup(c.label("billingGroupName"))
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"billingGroupName": g.Name, "billingGroupId": g.ID, "billingGroupArn": h.reg.ARN(billingGroupARN + g.Name), "version": g.Version,
		"billingGroupProperties": billingProperties{g.Description}, "billingGroupMetadata": map[string]any{"creationDate": epoch(g.Created)},
	}, nil
}

func listBillingGroups(h *Handler, c *call) (any, error) {
	p, err := c.pageOfThings()
	if err != nil {
		return nil, err
	}
	names, next, err := h.reg.BillingGroups(c.query.Get("namePrefixFilter"), p)
	return pageOf("billingGroups", h.groups(billingGroupARN, names), nextToken, next), err
}

func updateBillingGroup(h *Handler, c *call) (any, error) {
	var in struct {
		Properties *billingProperties `json:"billingGroupProperties"`
		Expected   int64              `json:"expectedVersion"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if in.Properties == nil {
		return nil, badRequest("billingGroupProperties is missing")
	}
	version, err := h.reg.UpdateBillingGroup(c.label("billingGroupName"), in.Properties.Description, in.Expected)
	return map[string]int64{"version": version}, err
}

func deleteBillingGroup(h *Handler, c *call) (any, error) {
	expected, err := c.number("expectedVersion")
	if err != nil {
		return nil, err
	}
	return nil, h.reg.DeleteBillingGroup(c.label("billingGroupName"), expected)
}

func (h *Handler) billingMembership(c *call) (group, thing string, err error) {
	var in membership
	if err := c.body(&in); err != nil {
		return "", "", err
	}
	if group, err = h.named("billingGroup", billingGroupARN, in.BillingName, in.BillingARN); err != nil {
		return "", "", err
	}
	thing, err = h.named("thing", thingARN, in.ThingName, in.ThingARN)
	return group, thing, err
}

func addThingToBillingGroup(h *Handler, c *call) (any, error) {
	group, thing, err := h.billingMembership(c)
	if err != nil {
		return nil, err
	}
	return nil, h.reg.AddToBilling(group, thing)
}

func removeThingFromBillingGroup(h *Handler, c *call) (any, error) {
	group, thing, err := h.billingMembership(c)
	if err != nil {
		return nil, err
	}
	return nil, h.reg.RemoveFromBilling(group, thing)
}

func listThingsInBillingGroup(h *Handler, c *call) (any, error) {
	p, err := c.pageOfThings()
	if err != nil {
		return nil, err
	}
	names, next, err := h.reg.ThingsInBilling(c.label("billingGroupName"), p)
	return pageOf("things", append([]string{}, names...), nextToken, next), err
}
