"""stub"""
def write_report(folder): folder.report.write_text("todo")
