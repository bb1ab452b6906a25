"""The distilled model in an application: the student answers where it is sure, and the teacher elsewhere."""
