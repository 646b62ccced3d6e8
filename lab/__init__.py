"""The ground floor: it knows no model and no method, only series, stacks in training, records, machines and pages."""
