"""The web page that shows a robot or a bag: its server, who may open it, and what it is shown. Knows no ROS."""
