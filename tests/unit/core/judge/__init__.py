"""What the plan and the doctor say of one host."""
